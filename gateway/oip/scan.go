package oip

import (
	"encoding/json"
	"unicode/utf8"
)

// check says whether text is one JSON value in UTF-8 that is not too deep. What follows in this file reads such texts.
func check(text []byte) error {
	if !utf8.Valid(text) {
		return wrong("", "the JSON is not UTF-8")
	}
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = skipString(text, i) - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return wrong("", "the JSON is nested deeper than %d", maxDepth)
			}
		case '}', ']':
			depth--
		}
	}
	if !json.Valid(text) {
		return wrong("", "the request is no JSON: is it binary data without %s?", HeaderLength)
	}
	return nil
}

// skipString is the position behind a string that begins at a position, or the end of the text.
func skipString(text []byte, at int) int {
	for at++; at < len(text); at++ {
		switch text[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(text)
}

// skipSpace is the position of what is not white space.
func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// skipValue is the position behind a value that begins at a position.
func skipValue(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"':
			at = skipString(text, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			if depth == 0 {
				return at
			}
			depth--
			at++
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return at
			}
			at++
			continue
		default:
			at++
			continue
		}
		if depth == 0 {
			return at
		}
	}
	return at
}

// kind is the first character of a value: one of { [ " t f n or of a number.
func kind(value []byte) byte { return value[0] }

// list calls each with the items of a value, which has to be an array.
func list(what string, value []byte, each func(item []byte) error) error {
	if kind(value) != '[' {
		return wrong(what, "want a list")
	}
	for at := skipSpace(value, 1); value[at] != ']'; {
		end := skipValue(value, at)
		if err := each(value[at:end]); err != nil {
			return err
		}
		if at = skipSpace(value, end); value[at] == ',' {
			at = skipSpace(value, at+1)
		}
	}
	return nil
}

// object calls each with the members of a value, which has to be an object without a key that is there twice.
func object(what string, value []byte, most int, each func(key string, value []byte) error) error {
	if kind(value) != '{' {
		return wrong(what, "want an object")
	}
	seen := map[string]bool{}
	for at := skipSpace(value, 1); value[at] != '}'; {
		end := skipString(value, at)
		key, err := text(what, value[at:end])
		if err != nil {
			return err
		}
		if seen[key] {
			return wrong(what, "%.80q is there twice", key)
		}
		if seen[key] = true; len(seen) > most {
			return wrong(what, "there are more than %d fields", most)
		}
		at = skipSpace(value, skipSpace(value, end)+1) // the colon
		end = skipValue(value, at)
		if err := each(key, value[at:end]); err != nil {
			return err
		}
		if at = skipSpace(value, end); value[at] == ',' {
			at = skipSpace(value, at+1)
		}
	}
	return nil
}

// text reads a string.
func text(what string, value []byte) (s string, err error) {
	if kind(value) != '"' || json.Unmarshal(value, &s) != nil {
		return "", wrong(what, "want a text")
	}
	return s, nil
}
