package convert

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a file's name in a folder.
const (
	MaxNamePart  = 255 // bytes between slashes
	MaxNameDepth = 4   // parts
)

// CheckName refuses a name that is no plain relative path: absolute, with "..", "." or empty parts, backslashes, control
// characters, a drive letter, parts that are too long, or too many of them. The error is of type Refused.
func CheckName(name string) error {
	refuse := func(why string) error { return Refused{File: fmt.Sprintf("%.100q", name), Why: why} }
	parts := strings.Split(name, "/")
	switch {
	case name == "":
		return refuse("the name is empty")
	case !utf8.ValidString(name):
		return refuse("the name is not UTF-8")
	case len(parts) > MaxNameDepth:
		return refuse(fmt.Sprintf("the name is deeper than %d", MaxNameDepth))
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == ':' }):
		return refuse("the name has a character that names of files may not have")
	}
	for _, p := range parts {
		switch {
		case p == "":
			return refuse("the name is absolute or has an empty part")
		case p == "." || p == "..":
			return refuse("the name leaves its folder")
		case len(p) > MaxNamePart:
			return refuse(fmt.Sprintf("a part of the name is longer than %d bytes", MaxNamePart))
		}
	}
	return nil
}

// checkNames refuses bad names, names that differ only in case, and weights of formats that are never read.
func checkNames(names []string) error {
	if len(names) > MaxFiles {
		return Refused{"", "", fmt.Sprintf("%d files are more than %d", len(names), MaxFiles)}
	}
	folded := map[string]string{}
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return err
		}
		if twin, ok := folded[strings.ToLower(name)]; ok {
			return Refused{name, "", fmt.Sprintf("the name differs from %q only in case", twin)}
		}
		folded[strings.ToLower(name)] = name
		if f, foreign := foreignOf(name); foreign {
			return refuseForeign(name, f)
		}
	}
	return nil
}
