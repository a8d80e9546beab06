package nvml

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/gpu"
)

// buckets says what the catalogue's immediate actions are here.
var buckets = map[string]action{
	"RESTART_APP": ignore, "IGNORE": ignore, "WORKFLOW_XID_45": ignore, "POWER_SMOOTHING": ignore,
	"RESET_GPU": cordon, "WORKFLOW_XID_48": cordon, "WORKFLOW_NVLINK_ERR": cordon, "WORKFLOW_NVLINK5_ERR": cordon, "CHECK_MECHANICALS": cordon,
	"UPDATE_SWFW": cordon, "CONTACT_SUPPORT": cordon, "RESTART_VM": cordon, "XID_154": cordon, "CHECK_UVM": cordon, "NONE_GIVEN": cordon, "UNUSED": cordon,
	"RESTART_BM": fail,
}

// stricter are the codes that are worse here than in the catalogue.
var stricter = map[uint64]action{63: cordon, 92: cordon}

func TestEveryCodeOfTheCatalogueIsMapped(t *testing.T) {
	text, err := os.ReadFile("testdata/xid-catalogue.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		fields := strings.Fields(l)
		want, ok := buckets[fields[0]]
		if !ok {
			t.Fatalf("bucket %s is not in the test's table", fields[0])
		}
		for _, f := range fields[1:] {
			code, err := strconv.ParseUint(f, 10, 64)
			if err != nil || seen[code] {
				t.Fatalf("code %q: %v, or it is listed twice", f, err)
			}
			seen[code] = true
			want := want
			if s, ok := stricter[code]; ok {
				want = s
			}
			what, a := event{Kind: eventXID, Code: code}.meaning()
			if a != want || strings.Contains(what, "not known") != (fields[0] == "UNUSED") || !strings.Contains(what, "XID "+f) {
				t.Errorf("code %d of bucket %s: %q, action %d, want %d", code, fields[0], what, a, want)
			}
		}
	}
	for code := range uint64(172) {
		if !seen[code+1] {
			t.Errorf("code %d is missing in the catalogue file", code+1)
		}
	}
}

func TestSpansOfXIDsAreSortedAndDoNotOverlap(t *testing.T) {
	last := uint64(0)
	for _, x := range xids {
		if x.first <= last || x.last < x.first || x.what == "" {
			t.Errorf("span %d..%d (%s) comes after %d", x.first, x.last, x.what, last)
		}
		last = x.last
	}
}

func TestConditions(t *testing.T) {
	start := time.Unix(1e9, 0)
	well, lost := sample{}, sample{Lost: true}
	after := func(c condition, d time.Duration) condition { return c.sampled(start.Add(d), well) }
	xid := func(code uint64) event { return event{Kind: eventXID, Code: code} }
	read := condition{}.sampled(start, well)
	gone := read.sampled(start, lost)
	for name, c := range map[string]struct {
		condition
		want gpu.Health
		why  string
	}{
		"never read":                    {condition{}, gpu.Unknown, "not read"},
		"read":                          {read, gpu.Healthy, ""},
		"silent":                        {read.quiet("no answer"), gpu.Unknown, "no answer"},
		"answers again":                 {after(read.quiet("no answer"), 1), gpu.Healthy, ""},
		"a call fails":                  {read.sampled(start, sample{Fault: "error 999"}), gpu.Unknown, "error 999"},
		"a call failed once":            {after(read.sampled(start, sample{Fault: "error 999"}), 1), gpu.Healthy, ""},
		"a reset is pending":            {read.sampled(start, sample{Pending: "row"}), gpu.Unknown, "row"},
		"application's fault":           {read.struck(xid(31)), gpu.Healthy, ""},
		"needs a reset":                 {read.struck(xid(48)), gpu.Unknown, "XID 48 (double-bit ECC error): it needs a reset"},
		"needs a reset a day later":     {after(read.struck(xid(48)), 24*time.Hour), gpu.Unknown, "XID 48"},
		"an echo does not hide it":      {read.struck(xid(48)).struck(xid(154)), gpu.Unknown, "XID 48"},
		"worse comes":                   {read.struck(xid(48)).struck(xid(79)), gpu.Failed, "XID 79 (GPU has fallen off the bus)"},
		"off the bus a day later":       {after(read.struck(xid(79)), 24*time.Hour), gpu.Failed, "XID 79"},
		"off the bus and silent":        {read.struck(xid(79)).quiet("no answer"), gpu.Failed, "XID 79"},
		"not in the table":              {read.struck(xid(4711)), gpu.Unknown, "XID 4711, which is not known"},
		"kind of event not known":       {read.struck(event{Kind: 1 << 40}), gpu.Unknown, "0x10000000000"},
		"event of another kind":         {read.struck(event{Kind: eventUnavailable}), gpu.Failed, "unavailable"},
		"lost":                          {gone, gpu.Failed, "lost"},
		"lost, answers":                 {after(gone, time.Second), gpu.Failed, "must answer for 1m0s"},
		"lost, answered for long":       {after(after(gone, time.Second), time.Second+recoverAfter), gpu.Healthy, ""},
		"lost, answered almost so long": {after(after(gone, time.Second), recoverAfter), gpu.Failed, "lost"},
		"lost, silent between":          {after(after(gone, time.Second).quiet("no answer"), time.Second+recoverAfter), gpu.Failed, "lost"},
		"lost, failing between":         {after(after(gone, time.Second).sampled(start, sample{Fault: "x"}), time.Second+recoverAfter), gpu.Failed, "lost"},
		"lost, lost again":              {after(after(gone, time.Second).sampled(start, lost), time.Second+recoverAfter), gpu.Failed, "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			if health, why := c.verdict(); health != c.want || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
				t.Errorf("%s because of %q, want %s because of %q", health, why, c.want, c.why)
			}
		})
	}
}

// Whatever happens, a device that is not healthy says why, and what an event condemned never gets better.
func TestConditionsOfAnyHistory(t *testing.T) {
	rank := map[gpu.Health]int{gpu.Healthy: 0, gpu.Unknown: 1, gpu.Failed: 2}
	rapid.Check(t, func(t *rapid.T) {
		var c condition
		now, worst := time.Unix(1e9, 0), ignore
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*recoverAfter)).Draw(t, "pause")))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				c = c.sampled(now, sample{Lost: rapid.Bool().Draw(t, "lost"), Fault: rapid.SampledFrom([]string{"", "f"}).Draw(t, "fault")})
			case 1:
				c = c.quiet("no answer")
			case 2:
				c = c.lost("gone")
			case 3:
				e := event{Kind: eventXID, Code: rapid.Uint64Range(0, 200).Draw(t, "xid")}
				_, a := e.meaning()
				worst, c = max(worst, a), c.struck(e)
			}
			health, why := c.verdict()
			if (health == gpu.Healthy) != (why == "") || rank[health] < int(worst) {
				t.Fatalf("%s because of %q after action %d", health, why, worst)
			}
		}
	})
}
