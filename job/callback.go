package job

import "encoding/json"

// Calling is how far the callback of a batch is.
type Calling string

// States of a callback. Before the batch is over there is none.
const (
	Pending   Calling = "pending"
	Delivered Calling = "delivered"
	GivenUp   Calling = "given_up"
)

// Pace of callbacks.
const (
	MaxCalls  = 12        // before it is given up
	firstWait = 5_000     // milliseconds after the first failure; it doubles
	lastWait  = 3_600_000 // milliseconds, at most
	maxWords  = 160       // characters of a reason
)

// Callback says whom to tell that a batch is over.
type Callback struct {
	URL   string  `json:"url"`
	State Calling `json:"state,omitempty"`
	Calls int     `json:"calls,omitempty"` // that were made
	Next  Millis  `json:"next,omitempty"`  // when the next one is due
	Why   string  `json:"why,omitempty"`   // the last one failed
}

// CallDue says that somebody is to be told now.
func (b Batch) CallDue(now Millis) bool {
	return b.Status.Over() && b.Callback != nil && b.Callback.State == Pending && now >= b.Callback.Next
}

// Called notes what came of a call: failed is "" if it was taken. after is how long the receiver asks to wait, in milliseconds.
func (b Batch) Called(failed string, permanent bool, after int64, now Millis) Batch {
	c := *b.Callback
	c.Calls++
	c.Why = string([]rune(failed)[:min(maxWords, len([]rune(failed)))])
	switch {
	case failed == "":
		c.State, c.Next = Delivered, 0
	case permanent || c.Calls >= MaxCalls:
		c.State, c.Next = GivenUp, 0
	default:
		c.Next = now + Millis(max(after, min(int64(lastWait), int64(firstWait)<<(c.Calls-1))))
	}
	b.Callback = &c
	return b
}

// Event is what a callback says.
func (b Batch) Event() []byte {
	type counts struct {
		Total     int64 `json:"total"`
		Completed int64 `json:"completed"`
		Failed    int64 `json:"failed"`
	}
	type data struct {
		ID       string            `json:"id"`
		Status   Status            `json:"status"`
		Output   string            `json:"output_file_id,omitempty"`
		Errors   string            `json:"error_file_id,omitempty"`
		Counts   counts            `json:"request_counts"`
		Metadata map[string]string `json:"metadata,omitempty"`
	}
	body, err := json.Marshal(struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Type    string `json:"type"`
		Created int64  `json:"created_at"`
		Data    data   `json:"data"`
	}{"evt_" + b.ID, "event", "batch." + string(b.Status), int64(b.Since[b.Status]) / 1000,
		data{b.ID, b.Status, b.OutputFile, b.ErrorFile, counts{b.Total, b.OK, b.Bad}, b.Metadata}})
	if err != nil { // texts and numbers
		panic(err)
	}
	return body
}
