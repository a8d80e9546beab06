package view

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkPointer says whether a text is a JSON Pointer (RFC 6901 §3).
func checkPointer(p string) error {
	if p == "" {
		return nil
	}
	if p[0] != '/' || len(p) > MaxPointer || !utf8.ValidString(p) {
		return fmt.Errorf("%.80q is no JSON Pointer of at most %d bytes: it starts with /", p, MaxPointer)
	}
	for i := 0; i < len(p); i++ {
		if p[i] == '~' && (i+1 == len(p) || p[i+1] != '0' && p[i+1] != '1') {
			return fmt.Errorf("%.80q is no JSON Pointer: ~ is written ~0, / is written ~1", p)
		}
	}
	return nil
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// split makes the reference tokens of a valid pointer.
func split(p string) []string {
	if p == "" {
		return nil
	}
	parts := strings.Split(p[1:], "/")
	for i := range parts {
		parts[i] = unescape.Replace(parts[i])
	}
	return parts
}

// find follows a path; ok is false where a value lacks the next part.
func find(v any, path []string) (any, bool) {
	for _, part := range path {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(in) || strconv.Itoa(i) != part {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}
