package view

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Rule is one step of cleaning a text.
type Rule struct {
	Do      string `json:"do"`                // "trim", "spaces", "nfc", "nfkc", "lower", "upper", "strip", "mask", "replace", "truncate"
	Pattern string `json:"pattern,omitempty"` // mask, replace: regular expression (RE2)
	With    string `json:"with,omitempty"`    // replace: the text instead, $1 = first group; mask: default "***"
	Runes   int    `json:"runes,omitempty"`   // truncate: characters (code points) that stay
}

// compile makes the function of a rule.
//
// trim takes white space from both ends; spaces makes one space of each run of it; nfc and nfkc are the normal forms of Unicode
// (UAX #15); strip removes control and format characters other than line feed and tab; mask and replace act on every match.
func (r Rule) compile() (func(string) string, error) {
	if r.Do != "mask" && r.Do != "replace" && (r.Pattern != "" || r.With != "") || r.Do != "truncate" && r.Runes != 0 {
		return nil, fmt.Errorf("rule %.40q takes no such parameters", r.Do)
	}
	if len(r.With) > MaxWith {
		return nil, fmt.Errorf("%d bytes in place of a match are more than %d", len(r.With), MaxWith)
	}
	switch r.Do {
	case "trim":
		return strings.TrimSpace, nil
	case "spaces":
		return func(s string) string { return strings.Join(strings.Fields(s), " ") }, nil
	case "nfc":
		return norm.NFC.String, nil
	case "nfkc":
		return norm.NFKC.String, nil
	case "lower":
		return strings.ToLower, nil
	case "upper":
		return strings.ToUpper, nil
	case "strip":
		return strip, nil
	case "truncate":
		if r.Runes < 1 {
			return nil, fmt.Errorf("truncate to %d characters", r.Runes)
		}
		return func(s string) string { return truncate(s, r.Runes) }, nil
	case "mask", "replace":
		p, err := pattern(r.Pattern)
		if err != nil {
			return nil, err
		}
		if r.Do == "replace" {
			return func(s string) string { return p.ReplaceAllString(s, r.With) }, nil
		}
		with := r.With
		if with == "" {
			with = "***"
		}
		return func(s string) string { return p.ReplaceAllLiteralString(s, with) }, nil
	}
	return nil, fmt.Errorf("rule %.40q is not known", r.Do)
}

func strip(s string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && (unicode.Is(unicode.Cc, c) || unicode.Is(unicode.Cf, c)) {
			return -1
		}
		return c
	}, s)
}

func truncate(s string, runes int) string {
	for i := range s {
		if runes == 0 {
			return s[:i]
		}
		runes--
	}
	return s
}
