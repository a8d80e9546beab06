package token

import "math"

// shortWord is the number of symbols up to which looking at all pairs beats a queue.
const shortWord = 24

const noRule = uint64(math.MaxUint64)

// rule returns the merge rule of two neighbours, or noRule.
func (m *bpe) rule(left, right int32) uint64 {
	if r, ok := m.merges[pairKey(left, right)]; ok {
		return r
	}
	return noRule
}

// mergeShort merges by looking for the lowest rank in all pairs, again and again. It returns the symbols left.
func (m *bpe) mergeShort(s *scratch) []symbol {
	y := s.symbols
	ranks := s.ranks[:0]
	for i := 0; i+1 < len(y); i++ {
		ranks = append(ranks, m.rule(y[i].id, y[i+1].id))
	}
	for len(ranks) > 0 {
		at, best := 0, noRule
		for i, r := range ranks {
			if r < best {
				at, best = i, r
			}
		}
		if best == noRule {
			break
		}
		y[at].id, y[at].to = int32(uint32(best)), y[at+1].to
		y = append(y[:at+1], y[at+2:]...)
		ranks = append(ranks[:at], ranks[at+1:]...)
		if at < len(ranks) {
			ranks[at] = m.rule(y[at].id, y[at+1].id)
		}
		if at > 0 {
			ranks[at-1] = m.rule(y[at-1].id, y[at].id)
		}
	}
	s.ranks = ranks[:0]
	return y
}

// mergeLong merges with a queue of candidate pairs over a linked list, in n log n time. Symbols that went into others
// stay in the list with the id none.
func (m *bpe) mergeLong(s *scratch) {
	y := s.symbols
	q := s.queue[:0]
	for i := range y {
		y[i].prev, y[i].next = int32(i-1), int32(i+1)
		if i+1 < len(y) {
			if r := m.rule(y[i].id, y[i+1].id); r != noRule {
				q = append(q, candidate{r, int32(i)})
			}
		}
	}
	y[len(y)-1].next = none
	q.init()
	for len(q) > 0 {
		top := q.pop()
		left := &y[top.at]
		if left.id == none || left.next == none {
			continue
		}
		right := &y[left.next]
		if m.rule(left.id, right.id) != top.rule {
			continue // one of the two has changed since
		}
		left.id, left.to, left.next = int32(uint32(top.rule)), right.to, right.next
		right.id = none
		if left.next != none {
			y[left.next].prev = top.at
			if r := m.rule(left.id, y[left.next].id); r != noRule {
				q.push(candidate{r, top.at})
			}
		}
		if left.prev != none {
			if r := m.rule(y[left.prev].id, left.id); r != noRule {
				q.push(candidate{r, left.prev})
			}
		}
	}
	s.queue = q
}

// candidate is a pair that a rule could merge, by the index of its left symbol.
type candidate struct {
	rule uint64
	at   int32
}

func (c candidate) less(d candidate) bool {
	return c.rule < d.rule || c.rule == d.rule && c.at < d.at
}

// mergeQueue is a binary heap, the lowest rank first and the leftmost of equals.
type mergeQueue []candidate

func (q mergeQueue) init() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.down(i)
	}
}

func (q *mergeQueue) push(c candidate) {
	*q = append(*q, c)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].less(h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (q *mergeQueue) pop() candidate {
	h := *q
	top := h[0]
	h[0] = h[len(h)-1]
	*q = h[:len(h)-1]
	q.down(0)
	return top
}

func (q mergeQueue) down(i int) {
	for {
		least := i
		for _, k := range [2]int{2*i + 1, 2*i + 2} {
			if k < len(q) && q[k].less(q[least]) {
				least = k
			}
		}
		if least == i {
			return
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
}
