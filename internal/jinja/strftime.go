package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// strftime formats t as C's strftime does in the C locale, with glibc's padding flags "-", "_", "0" and "^". The time
// has no zone for %z and %Z, as Python's datetime.now().
func (r *run) strftime(format string, t time.Time) string {
	p := &printer{r: r}
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 >= len(format) {
			p.str(format[i : i+1])
			continue
		}
		start := i
		i++
		flag := byte(0)
		for i < len(format)-1 && strings.IndexByte("-_0^", format[i]) >= 0 {
			flag = format[i]
			i++
		}
		s, ok := timeField(format[i], flag, t)
		if !ok {
			s = format[start : i+1]
		}
		p.str(s)
	}
	return string(p.b)
}

// padded formats a number with width digits, padded by fill unless the flag says otherwise.
func padded(n, width int, fill, flag byte) string {
	switch flag {
	case '-':
		return strconv.Itoa(n)
	case '_':
		fill = ' '
	case '0':
		fill = '0'
	}
	s := strconv.Itoa(n)
	return strings.Repeat(string(fill), max(0, width-len(s))) + s
}

func timeField(verb, flag byte, t time.Time) (string, bool) {
	text := func(s string) (string, bool) {
		if flag == '^' {
			s = strings.ToUpper(s)
		}
		return s, true
	}
	num := func(n, width int) (string, bool) { return padded(n, width, '0', flag), true }
	hour12 := (t.Hour()+11)%12 + 1
	isoYear, isoWeek := t.ISOWeek()
	switch verb {
	case 'a':
		return text(t.Weekday().String()[:3])
	case 'A':
		return text(t.Weekday().String())
	case 'b', 'h':
		return text(t.Month().String()[:3])
	case 'B':
		return text(t.Month().String())
	case 'c':
		return text(fmt.Sprintf("%s %2d %s %d", t.Format("Mon Jan"), t.Day(), t.Format("15:04:05"), t.Year()))
	case 'C':
		return num(t.Year()/100, 2)
	case 'd':
		return num(t.Day(), 2)
	case 'D', 'x':
		return text(t.Format("01/02/06"))
	case 'e':
		return padded(t.Day(), 2, ' ', flag), true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'F':
		return text(t.Format("2006-01-02"))
	case 'g':
		return num(isoYear%100, 2)
	case 'G':
		return num(isoYear, 4)
	case 'H':
		return num(t.Hour(), 2)
	case 'I':
		return num(hour12, 2)
	case 'j':
		return num(t.YearDay(), 3)
	case 'k':
		return padded(t.Hour(), 2, ' ', flag), true
	case 'l':
		return padded(hour12, 2, ' ', flag), true
	case 'm':
		return num(int(t.Month()), 2)
	case 'M':
		return num(t.Minute(), 2)
	case 'n':
		return "\n", true
	case 'p':
		return text(t.Format("PM"))
	case 'P':
		return text(t.Format("pm"))
	case 'r':
		return text(t.Format("03:04:05 PM"))
	case 'R':
		return text(t.Format("15:04"))
	case 'S':
		return num(t.Second(), 2)
	case 't':
		return "\t", true
	case 'T', 'X':
		return text(t.Format("15:04:05"))
	case 'u':
		return num((int(t.Weekday())+6)%7+1, 1)
	case 'U':
		return num((t.YearDay()+6-int(t.Weekday()))/7, 2)
	case 'V':
		return num(isoWeek, 2)
	case 'w':
		return num(int(t.Weekday()), 1)
	case 'W':
		return num((t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2)
	case 'y':
		return num(t.Year()%100, 2)
	case 'Y':
		return num(t.Year(), 1)
	case 'z', 'Z':
		return "", true
	case '%':
		return "%", true
	}
	return "", false
}
