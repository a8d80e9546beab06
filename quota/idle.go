package quota

import "slices"

// Idle says that nothing is held, wanted or under way, as of the state that was followed last: a gateway may go without a lease being
// forfeited.
func (t *Till) Idle() bool {
	return t.flight.Seq == 0 && !slices.ContainsFunc(t.active, func(p *Purse) bool { return !p.idle() })
}
