package gateway

import "strings"

// stopper ends a text before the string that is the first of some to be complete, and holds back what could become one of them.
type stopper struct {
	stops []string
	held  string
	hit   string // the stop string that was reached; "" = none yet
}

// push adds text, and gives what is certain to be part of the answer. hit says that a stop string was reached.
func (s *stopper) push(text string) (out string, hit bool) {
	s.held += text
	if first, stop, ok := firstComplete(s.held, s.stops); ok {
		out, s.held, s.hit = s.held[:first], "", stop
		return out, true
	}
	keep := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
				break
			}
		}
	}
	out, s.held = s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
	return out, false
}

// firstComplete finds where the stop string begins that ends first, the longest one of equals: that does not depend on the pieces in which
// the text came.
func firstComplete(text string, stops []string) (begin int, which string, ok bool) {
	end := 0
	for _, stop := range stops {
		at := strings.Index(text, stop)
		if e := at + len(stop); at >= 0 && (!ok || e < end || e == end && at < begin) {
			begin, end, which, ok = at, e, stop, true
		}
	}
	return begin, which, ok
}

// flush gives what was held back: the text has ended.
func (s *stopper) flush() string {
	out := s.held
	s.held = ""
	return out
}
