package gateway

import "strings"

// stopper ends a text before the first of some strings, and holds back what could become one of them.
type stopper struct {
	stops []string
	held  string
}

// push adds text, and gives what is certain to be part of the answer. hit says that a stop string was reached.
func (s *stopper) push(text string) (out string, hit bool) {
	s.held += text
	first := -1
	for _, stop := range s.stops {
		if at := strings.Index(s.held, stop); at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	if first >= 0 {
		out, s.held = s.held[:first], ""
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

// flush gives what was held back: the text has ended.
func (s *stopper) flush() string {
	out := s.held
	s.held = ""
	return out
}
