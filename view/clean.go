package view

import (
	"fmt"
	"regexp"
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

// rule is a Rule that is ready to be used.
type rule func(string) (string, error)

// always is a rule that cannot fail.
func always(f func(string) string) rule {
	return func(s string) (string, error) { return f(s), nil }
}

// compile makes the function of a rule.
//
// trim takes white space from both ends; spaces makes one space of each run of it; nfc and nfkc are the normal forms of Unicode
// (UAX #15); strip removes control and format characters other than line feed and tab; mask and replace act on every match.
func (r Rule) compile() (rule, error) {
	if r.Do != "mask" && r.Do != "replace" && (r.Pattern != "" || r.With != "") || r.Do != "truncate" && r.Runes != 0 {
		return nil, fmt.Errorf("rule %.40q takes no such parameters", r.Do)
	}
	if len(r.With) > MaxWith {
		return nil, fmt.Errorf("%d bytes in place of a match are more than %d", len(r.With), MaxWith)
	}
	switch r.Do {
	case "trim":
		return always(strings.TrimSpace), nil
	case "spaces":
		return always(func(s string) string { return strings.Join(strings.Fields(s), " ") }), nil
	case "nfc":
		return always(norm.NFC.String), nil
	case "nfkc":
		return always(norm.NFKC.String), nil
	case "lower":
		return always(strings.ToLower), nil
	case "upper":
		return always(strings.ToUpper), nil
	case "strip":
		return always(strip), nil
	case "truncate":
		if r.Runes < 1 {
			return nil, fmt.Errorf("truncate to %d characters", r.Runes)
		}
		return always(func(s string) string { return truncate(s, r.Runes) }), nil
	case "mask", "replace":
		p, err := pattern(r.Pattern)
		if err != nil {
			return nil, err
		}
		if r.Do == "replace" {
			return bounded(p, r.With, strings.Count(r.With, "$"), p.ReplaceAllString), nil
		}
		with := r.With
		if with == "" {
			with = "***"
		}
		return bounded(p, with, 0, p.ReplaceAllLiteralString), nil
	}
	return nil, fmt.Errorf("rule %.40q is not known", r.Do)
}

// bounded refuses to replace where what stands instead, which names groups so many times, may be longer than MaxGrown.
func bounded(p *regexp.Regexp, with string, groups int, replace func(text, with string) string) rule {
	return func(s string) (string, error) {
		if grown := (len(s)+1)*len(with) + (groups+1)*len(s); grown > MaxGrown {
			matches, matched := 0, 0
			p.ReplaceAllStringFunc(s, func(match string) string {
				matches, matched = matches+1, matched+len(match)
				return match
			})
			if grown = len(s) + matches*len(with) + groups*matched; grown > MaxGrown {
				return "", fmt.Errorf("a text of %d bytes might become %d bytes long, and more than %d are not made", len(s), grown, MaxGrown)
			}
		}
		return replace(s, with), nil
	}
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
