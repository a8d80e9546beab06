package jinja

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// upper, lower and capitalize use the full case mappings of Unicode, as Python's str methods do.
func upper(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	return cases.Upper(language.Und).String(s)
}

func lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return cases.Lower(language.Und).String(s)
}

// titleRune is the title case of one character, which may be several.
func titleRune(c string) string {
	if isASCII(c) {
		return strings.ToUpper(c)
	}
	return cases.Title(language.Und, cases.NoLower).String(c)
}

func capitalize(s string) string {
	if s == "" {
		return ""
	}
	n := offset(s, 1)
	return titleRune(s[:n]) + lower(s)[len(lower(s[:n])):]
}

// titleText is str.title: each letter that follows none is in title case, the others in lower case.
func titleText(s string) string {
	var b strings.Builder
	after := false
	for _, c := range s {
		if after {
			b.WriteString(lower(string(c)))
		} else {
			b.WriteString(titleRune(string(c)))
		}
		after = isCased(c)
	}
	return b.String()
}

func swapCase(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case isUpperRune(c):
			b.WriteString(lower(string(c)))
		case isLowerRune(c):
			b.WriteString(upper(string(c)))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func isUpperRune(c rune) bool {
	return unicode.IsUpper(c) || unicode.Is(unicode.Other_Uppercase, c)
}

func isLowerRune(c rune) bool {
	return unicode.IsLower(c) || unicode.Is(unicode.Other_Lowercase, c)
}

func isCased(c rune) bool { return isUpperRune(c) || isLowerRune(c) || unicode.IsTitle(c) }

// isUpper says that s has cased characters, all of them upper case; isLower likewise.
func isUpper(s string) bool {
	some := false
	for _, c := range s {
		if isLowerRune(c) || unicode.IsTitle(c) {
			return false
		}
		some = some || isUpperRune(c)
	}
	return some
}

func isLower(s string) bool {
	some := false
	for _, c := range s {
		if isUpperRune(c) || unicode.IsTitle(c) {
			return false
		}
		some = some || isLowerRune(c)
	}
	return some
}

func isTitle(s string) bool {
	some, after := false, false
	for _, c := range s {
		switch {
		case isUpperRune(c) || unicode.IsTitle(c):
			if after {
				return false
			}
			some, after = true, true
		case isLowerRune(c):
			if !after {
				return false
			}
			some = true
		default:
			after = false
		}
	}
	return some
}

// digitRanges are the characters outside category Nd that Unicode gives a digit value: superscripts, subscripts and
// circled digits (UnicodeData.txt, field 7).
var digitRanges = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0xb2, Hi: 0xb3, Stride: 1}, {Lo: 0xb9, Hi: 0xb9, Stride: 1}, {Lo: 0x1369, Hi: 0x1371, Stride: 1},
		{Lo: 0x19da, Hi: 0x19da, Stride: 1}, {Lo: 0x2070, Hi: 0x2070, Stride: 1}, {Lo: 0x2074, Hi: 0x2079, Stride: 1},
		{Lo: 0x2080, Hi: 0x2089, Stride: 1}, {Lo: 0x2460, Hi: 0x2468, Stride: 1}, {Lo: 0x2474, Hi: 0x247c, Stride: 1},
		{Lo: 0x2488, Hi: 0x2490, Stride: 1}, {Lo: 0x24ea, Hi: 0x24ea, Stride: 1}, {Lo: 0x24f5, Hi: 0x24fd, Stride: 1},
		{Lo: 0x24ff, Hi: 0x24ff, Stride: 1}, {Lo: 0x2776, Hi: 0x277e, Stride: 1}, {Lo: 0x2780, Hi: 0x2788, Stride: 1},
		{Lo: 0x278a, Hi: 0x2792, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10a40, Hi: 0x10a43, Stride: 1}, {Lo: 0x10e60, Hi: 0x10e68, Stride: 1},
		{Lo: 0x11052, Hi: 0x1105a, Stride: 1}, {Lo: 0x1f100, Hi: 0x1f10a, Stride: 1},
	},
	LatinOffset: 2,
}

func isDecimalRune(c rune) bool { return unicode.Is(unicode.Nd, c) }

func isDigitRune(c rune) bool { return isDecimalRune(c) || unicode.Is(digitRanges, c) }

func isNumericRune(c rune) bool {
	return unicode.In(c, unicode.Nd, unicode.Nl, unicode.No) || (c > 0x80 && strings.ContainsRune(numericIdeographs, c))
}

// numericIdeographs are the common Han characters with a numeric value (Unihan, kPrimaryNumeric and
// kAccountingNumeric).
const numericIdeographs = "〇一二三四五六七八九十百千萬万億亿兆零壹貳叁肆伍陸柒捌玖拾佰仟贰陆两兩廿卅卌壱弐参參"

func isAlnum(c rune) bool { return unicode.IsLetter(c) || isDigitRune(c) || isNumericRune(c) }

func everyRune(s string, is func(rune) bool) bool {
	for _, c := range s {
		if !is(c) {
			return false
		}
	}
	return s != ""
}

func isIdentifier(s string) bool {
	for i, c := range s {
		start := c == '_' || unicode.IsLetter(c) || unicode.Is(unicode.Nl, c)
		if !start && (i == 0 || !unicode.In(c, unicode.Nd, unicode.Mn, unicode.Mc, unicode.Pc)) {
			return false
		}
	}
	return s != ""
}

func casefold(s string) string { return cases.Fold().String(s) }
