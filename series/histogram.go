package series

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Buckets is the number of buckets of a Histogram, the one beyond the last bound included.
const Buckets = 40

// Bounds are the upper bounds of the buckets, inclusive, in milliseconds: powers of √2 from 1 ms, rounded, and 10 min. The last bucket
// has none.
var Bounds = [Buckets - 1]int64{
	1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048, 2896, 4096, 5793, 8192, 11585,
	16384, 23170, 32768, 46341, 65536, 92682, 131072, 185364, 262144, 370728, 524288, 600000,
}

// MaxCount is what a bucket counts at most; it stays there.
const MaxCount = 1 << 53

// MaxSum is the greatest sum in milliseconds; it stays there.
const MaxSum = 1 << 60

// ErrHistogram says that bytes are no histogram.
var ErrHistogram = errors.New("series: no histogram")

// Histogram counts durations by size. The zero value is empty. Histograms merge exactly: the bounds are always the same.
type Histogram struct {
	counts [Buckets]int64
	sum    int64 // ms
}

// Add counts a duration in milliseconds; a negative one counts as 0.
func (h *Histogram) Add(ms int64) {
	ms = max(ms, 0)
	i, _ := slices.BinarySearch(Bounds[:], ms)
	h.counts[i] = min(h.counts[i]+1, MaxCount)
	h.sum = min(h.sum+min(ms, MaxSum), MaxSum)
}

// Merge adds everything that another histogram counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] = min(h.counts[i]+n, MaxCount)
	}
	h.sum = min(h.sum+o.sum, MaxSum)
}

// Count is the number of durations.
func (h *Histogram) Count() int64 {
	var n int64
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Sum is the sum of the durations in milliseconds.
func (h *Histogram) Sum() int64 { return h.sum }

// Bucket is how many durations were at most Bounds[i] and above the bound before; of the last bucket, above all bounds.
func (h *Histogram) Bucket(i int) int64 { return h.counts[i] }

// Quantile is the duration in milliseconds that so many of a thousand do not exceed, interpolated in its bucket as by Prometheus's
// histogram_quantile; beyond the last bound it is that bound. It is 0 of an empty histogram.
func (h *Histogram) Quantile(permille int) int64 {
	n := h.Count()
	if n == 0 {
		return 0
	}
	// Ranks and counts are in thousandths; counts beyond 2^30 give up their last digits, or the product below would overflow.
	scale := int64(1)
	for n/scale > 1<<30 {
		scale *= 2
	}
	rank := n / scale * int64(min(max(permille, 0), 1000))
	var below int64
	for i, c := range h.counts {
		c = c / scale * 1000
		if c > 0 && below+c >= rank {
			if i == len(Bounds) {
				break
			}
			low := int64(0)
			if i > 0 {
				low = Bounds[i-1]
			}
			return low + ((Bounds[i]-low)*(rank-below)+c/2)/c
		}
		below += c
	}
	return Bounds[len(Bounds)-1]
}

// wireHistogram is a histogram as JSON: {"sum":1234,"at":[3,17,4,2]}, pairs of the number of a bucket and its count.
type wireHistogram struct {
	Sum int64   `json:"sum,omitempty"`
	At  []int64 `json:"at,omitempty"`
}

// MarshalJSON writes only the buckets that counted something.
func (h Histogram) MarshalJSON() ([]byte, error) {
	w := wireHistogram{Sum: h.sum}
	for i, c := range h.counts {
		if c > 0 {
			w.At = append(w.At, int64(i), c)
		}
	}
	return json.Marshal(w)
}

// UnmarshalJSON refuses with ErrHistogram what MarshalJSON does not write.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var w wireHistogram
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("%w: %w", ErrHistogram, err)
	}
	if len(w.At)%2 != 0 || len(w.At) > 2*Buckets || w.Sum < 0 || w.Sum > MaxSum {
		return ErrHistogram
	}
	*h = Histogram{sum: w.Sum}
	last := int64(-1)
	for i := 0; i < len(w.At); i += 2 {
		at, n := w.At[i], w.At[i+1]
		if at <= last || at >= Buckets || n <= 0 || n > MaxCount {
			return ErrHistogram
		}
		h.counts[at], last = n, at
	}
	return nil
}
