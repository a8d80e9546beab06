// Package bill sums what was used, and says what it costs.
package bill

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"github.com/skein-project/skein/cluster"
)

// Document is where the price list is kept.
var Document = cluster.DocumentID{Kind: cluster.PriceList, ID: "prices"}

const (
	MaxPrices = 256     // prices of a list
	MaxPrice  = 1 << 40 // millionths of the currency's unit: a million units
)

// Micros are millionths of the currency's unit.
type Micros int64

// Price is what is asked for a model.
type Price struct {
	Model        string `json:"model"`                   // a pattern as in cluster.Granted; of those that match, the longest counts
	Prompt       Micros `json:"prompt,omitempty"`        // for a million tokens
	Answer       Micros `json:"answer,omitempty"`        // for a million tokens
	Calls        Micros `json:"calls,omitempty"`         // for a thousand
	DeviceHour   Micros `json:"device_hour,omitempty"`   // of one whole device, used
	ReservedHour Micros `json:"reserved_hour,omitempty"` // of one whole device, reserved
}

// Prices is a price list.
type Prices struct {
	Currency string  `json:"currency"`
	List     []Price `json:"list"`
}

// Validate checks a price list: a currency, known patterns, each once, no negative price.
func (p Prices) Validate() error {
	if len(p.List) > MaxPrices {
		return fmt.Errorf("bill: %d prices, at most %d are allowed", len(p.List), MaxPrices)
	}
	if n := len(p.Currency); n < 1 || n > 8 {
		return fmt.Errorf("bill: malformed currency %.20q", p.Currency)
	}
	for i, x := range p.List {
		if x.Model == "" || len(x.Model) > cluster.MaxName {
			return fmt.Errorf("bill: price %d: malformed model %.128q", i, x.Model)
		}
		for _, m := range []Micros{x.Prompt, x.Answer, x.Calls, x.DeviceHour, x.ReservedHour} {
			if m < 0 || m > MaxPrice {
				return fmt.Errorf("bill: price of %s: %d is out of range", x.Model, m)
			}
		}
		if slices.ContainsFunc(p.List[:i], func(o Price) bool { return o.Model == x.Model }) {
			return fmt.Errorf("bill: %s has two prices", x.Model)
		}
	}
	return nil
}

// PricesOf reads the price list of a state; the zero Prices if there is none.
func PricesOf(s cluster.State) (p Prices, rev cluster.Index, err error) {
	d, ok := s.Document(Document)
	if !ok {
		return p, 0, nil
	}
	if err := json.Unmarshal(d.Body, &p); err != nil {
		return p, d.Rev, fmt.Errorf("bill: read the price list: %w", err)
	}
	return p, d.Rev, nil
}

// of finds the price of a model.
func (p Prices) of(model string) (best Price) {
	for _, x := range p.List {
		if cluster.Granted([]string{x.Model}, model) && (best.Model == "" || len(x.Model) > len(best.Model)) {
			best = x
		}
	}
	return best
}

const hourMs = 60 * 60 * 1000

// Cost is what is asked for what was used of a model, each part rounded down.
func (p Prices) Cost(model string, a cluster.Amounts) Micros {
	x := p.of(model)
	return part(a.Prompt, x.Prompt, 1_000_000) + part(a.Answer, x.Answer, 1_000_000) + part(a.Calls, x.Calls, 1000) +
		part(a.DeviceMs, x.DeviceHour, hourMs) + part(a.Reserved, x.ReservedHour, hourMs)
}

// part is amount × price / per, without overflow; what does not fit is the largest amount of money there is.
func part(amount int64, price Micros, per uint64) Micros {
	hi, lo := bits.Mul64(uint64(max(0, amount)), uint64(price))
	if hi >= per {
		return 1<<63 - 1
	}
	q, _ := bits.Div64(hi, lo, per)
	return Micros(min(q, 1<<63-1))
}

// Field is something that usage is summed by.
type Field int

// Fields.
const (
	Day Field = iota
	Tenant
	App
	Key
	Model
	Version
)

// Row is a sum. The fields of its id that it was not summed by are zero.
type Row struct {
	cluster.Usage
	Cost Micros
}

// Sum adds up the rows of usage from one day to another (without it) that keep wants, by fields, in order.
func Sum(rows iter.Seq[cluster.Usage], from, until cluster.Millis, by []Field, prices Prices, keep func(cluster.UsageID) bool) []Row {
	sums := map[cluster.UsageID]*Row{}
	var order []cluster.UsageID
	for u := range rows {
		if u.Start < from || u.Start >= until || !keep(u.UsageID) {
			continue
		}
		id := reduce(u.UsageID, by)
		sum, ok := sums[id]
		if !ok {
			sum = &Row{Usage: cluster.Usage{UsageID: id}}
			sums[id] = sum
			order = append(order, id)
		}
		sum.Amounts = sum.Plus(u.Amounts)
		sum.Cost += prices.Cost(u.Version.Model, u.Amounts)
	}
	slices.SortFunc(order, cluster.UsageID.Compare)
	out := make([]Row, len(order))
	for i, id := range order {
		out[i] = *sums[id]
	}
	return out
}

// reduce keeps the fields that are summed by.
func reduce(u cluster.UsageID, by []Field) (out cluster.UsageID) {
	for _, f := range by {
		switch f {
		case Day:
			out.Start, out.Month = u.Start, u.Month
		case Tenant:
			out.Tenant = u.Tenant
		case App:
			out.Tenant, out.App = u.Tenant, u.App
		case Key:
			out.Tenant, out.App, out.Key = u.Tenant, u.App, u.Key
		case Model:
			out.Version.Model = u.Version.Model
		case Version:
			out.Version = u.Version
		}
	}
	return out
}
