package quota

// divide writes the goal of each lease of a share: the max-min fair division (Bertsekas and Gallager, Data Networks, 6.5.2) of amount
// over those that want something, where nobody gets less than the least that is of use, or nothing. Whom the least of all would not
// fit waits for its turn. Leases that want nothing, or have ended, keep what they have until it ends: that is not divided.
func divide(now, amount int64, leases []Lease) {
	wanting := int64(0)
	for i := range leases {
		l := &leases[i]
		l.Goal = 0
		if wants(now, l) {
			wanting++
		} else {
			amount -= l.Amount
		}
	}
	if wanting == 0 || amount <= 0 {
		return
	}
	first := turn(now, wanting)
	seated, left := int64(0), amount
	eachFrom(now, first, leases, func(l *Lease) {
		if least := floor(l); least <= left {
			l.Goal, left = least, left-least
			seated++
		}
	})
	if seated == 0 {
		return
	}
	level := highest(amount, leases)
	for i := range leases {
		if l := &leases[i]; l.Goal > 0 {
			l.Goal = clamp(level, floor(l), l.Want)
			amount -= l.Goal
		}
	}
	eachFrom(now, first, leases, func(l *Lease) {
		if l.Goal > 0 && l.Goal == level && l.Goal < l.Want && amount > 0 {
			l.Goal++
			amount--
		}
	})
}

// turn is whose turn it is among n. In n turns everybody has one; where they begin differs, so that a limit whose units come back at
// regular times does not always meet the same one.
func turn(now, n int64) int64 {
	turns := max(0, now) / Turn.Milliseconds()
	mixed := uint64(turns/n) * 0x9E3779B97F4A7C15 // Knuth, The Art of Computer Programming, 6.4: multiplicative hashing
	return (int64(mixed>>33) + turns) % n
}

// highest is the level at which all who have a seat together take no more than amount.
func highest(amount int64, leases []Lease) int64 {
	low, high := int64(0), amount
	for low < high {
		level := low + (high-low+1)/2
		sum := int64(0)
		for i := range leases {
			if l := &leases[i]; l.Goal > 0 {
				sum += clamp(level, floor(l), l.Want)
			}
		}
		if sum <= amount {
			low = level
		} else {
			high = level - 1
		}
	}
	return low
}

func wants(now int64, l *Lease) bool { return l.Want > 0 && now < l.Until }

// floor is the smallest part that is of use to a gateway.
func floor(l *Lease) int64 { return clamp(l.Least, 1, l.Want) }

// eachFrom calls for the leases that want something, in order of the gateways, beginning with the first-th.
func eachFrom(now, first int64, leases []Lease, do func(*Lease)) {
	for _, second := range []bool{false, true} {
		nth := int64(0)
		for i := range leases {
			if l := &leases[i]; wants(now, l) {
				if (nth < first) == second {
					do(l)
				}
				nth++
			}
		}
	}
}
