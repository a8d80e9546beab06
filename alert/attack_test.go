package alert

import (
	"errors"
	"strings"
	"testing"
)

// Each bound of an expression holds by itself: one that is wide and flat, and one that is narrow and deep, are refused for their cost though
// neither is long; the same a little smaller is taken.
func TestBoundsOfExpressions(t *testing.T) {
	c := compiler(t)
	rate := `rate("skein_gateway_requests_total", "5m")`
	var sum func(n int) string
	sum = func(n int) string {
		if n == 0 {
			return "1.0"
		}
		return "(" + sum(n-1) + "+" + sum(n-1) + ")"
	}
	wide := func(n int) string { return rate + " > " + sum(n) }
	deep := func(n int) string {
		return rate + " > " + strings.Repeat("(1.0+", n) + "1.0" + strings.Repeat(")", n)
	}
	for name, x := range map[string]struct {
		expr string
		fits bool
	}{
		"wide":           {wide(5), true},
		"too wide":       {wide(7), false},
		"deep":           {deep(MaxDepth - 4), true},
		"too deep":       {deep(MaxDepth + 4), false},
		"as long as may": {rate + " > 1.0" + strings.Repeat(" ", MaxExpr-len(rate)-6), true},
		"too long":       {rate + " > 1.0" + strings.Repeat(" ", MaxExpr-len(rate)-5), false},
	} {
		if len(x.expr) > MaxExpr && name != "too long" {
			t.Fatalf("%s: %d characters: it is refused for its length", name, len(x.expr))
		}
		if _, err := c.Compile(x.expr, OverVersion); (err == nil) != x.fits || !x.fits && !errors.Is(err, ErrCost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
