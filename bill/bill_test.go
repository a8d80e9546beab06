package bill

import (
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/cluster"
)

var list = Prices{Currency: "EUR", List: []Price{
	{Model: "*", Prompt: 1_000_000, Answer: 3_000_000, Calls: 10},
	{Model: "team/*", DeviceHour: 2_000_000, ReservedHour: 500_000},
	{Model: "team/calc", Calls: 1_000_000},
}}

func TestCost(t *testing.T) {
	for _, c := range []struct {
		model string
		used  cluster.Amounts
		want  Micros
	}{
		{"calc", cluster.Amounts{Prompt: 2_000_000, Answer: 500_000, Calls: 1000, DeviceMs: hourMs}, 2_000_000 + 1_500_000 + 10},
		{"calc", cluster.Amounts{Prompt: 1}, 1},
		{"calc", cluster.Amounts{Calls: 99}, 0},
		{"team/x", cluster.Amounts{Calls: 1000, DeviceMs: hourMs / 2, Reserved: 2 * hourMs}, 1_000_000 + 1_000_000},
		{"team/calc", cluster.Amounts{Calls: 3, DeviceMs: hourMs}, 3000},
	} {
		if got := list.Cost(c.model, c.used); got != c.want {
			t.Errorf("%s %+v costs %d, want %d", c.model, c.used, got, c.want)
		}
	}
}

// Money is what exact arithmetic says, rounded down.
func TestPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount, price := rapid.Int64Range(0, cluster.MaxAmount).Draw(t, "amount"), rapid.Int64Range(0, MaxPrice).Draw(t, "price")
		per := rapid.SampledFrom([]uint64{1000, 1_000_000, hourMs}).Draw(t, "per")
		want := new(big.Int).Div(new(big.Int).Mul(big.NewInt(amount), big.NewInt(price)), new(big.Int).SetUint64(per))
		if most := big.NewInt(1<<63 - 1); want.Cmp(most) > 0 {
			want = most
		}
		if got := part(amount, Micros(price), per); got != Micros(want.Int64()) {
			t.Fatalf("%d × %d / %d = %d, want %s", amount, price, per, got, want)
		}
	})
}

// However usage is summed, the whole is the same.
func TestSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []cluster.Usage
		for range rapid.IntRange(0, 30).Draw(t, "rows") {
			n := func(what string, most int) int { return rapid.IntRange(0, most).Draw(t, what) }
			rows = append(rows, cluster.Usage{
				UsageID: cluster.UsageID{Start: cluster.Millis(n("day", 3)), Tenant: string(rune('a' + n("tenant", 2))), App: []string{"", "p"}[n("app", 1)], Key: []string{"", "k"}[n("key", 1)],
					Version: cluster.VersionID{Model: []string{"calc", "team/x"}[n("model", 1)], Number: 1 + n("number", 1)}},
				Amounts: cluster.Amounts{Calls: int64(n("calls", 5)) * 1000, Prompt: int64(n("prompt", 9)) * 1_000_000},
			})
		}
		all := func(cluster.UsageID) bool { return true }
		total := Sum(slices.Values(rows), 0, 10, nil, list, all)
		by := rapid.SliceOfDistinct(rapid.SampledFrom([]Field{Day, Tenant, App, Key, Model, Version}), func(f Field) Field { return f }).Draw(t, "by")
		var again Row
		for _, r := range Sum(slices.Values(rows), 0, 10, by, list, all) {
			again.Amounts = again.Plus(r.Amounts)
			again.Cost += r.Cost
		}
		if len(rows) == 0 && len(total) == 0 {
			return
		}
		if len(total) != 1 || total[0].Amounts != again.Amounts || total[0].Cost != again.Cost {
			t.Fatalf("by %v it is %+v, in all %+v", by, again, total)
		}
		if part := Sum(slices.Values(rows), 1, 2, by, list, func(u cluster.UsageID) bool { return u.Tenant == "a" }); slices.ContainsFunc(rows, func(u cluster.Usage) bool { return u.Start == 1 && u.Tenant == "a" }) != (len(part) > 0) {
			t.Fatalf("%+v", part)
		}
	})
}

func TestValidate(t *testing.T) {
	if err := list.Validate(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]Prices{
		"currency": {},
		"twice":    {Currency: "EUR", List: []Price{{Model: "a"}, {Model: "a"}}},
		"negative": {Currency: "EUR", List: []Price{{Model: "a", Calls: -1}}},
		"nameless": {Currency: "EUR", List: []Price{{}}},
		"many":     {Currency: "EUR", List: make([]Price, MaxPrices+1)},
		"huge":     {Currency: "EUR", List: []Price{{Model: "a", Calls: MaxPrice + 1}}},
	} {
		if bad.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
