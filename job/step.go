package job

import (
	"fmt"
	"maps"
)

// Action is what the owner of a batch does next.
type Action string

// Actions.
const (
	Rest   Action = "rest"   // nothing: it is over
	Check  Action = "check"  // read the input and see whether it is as it should be
	Answer Action = "answer" // make the requests of the lines that are left
	Drain  Action = "drain"  // write of each line that is left why it is not answered
	Finish Action = "finish" // make files of what came out
)

// Next says what the owner of a batch does.
func (b Batch) Next(now Millis) Action {
	switch {
	case b.Status.Over():
		return Rest
	case !b.Checked && (b.Ending != "" || now >= b.Due):
		return Finish // none of its lines was looked at
	case !b.Checked:
		return Check
	case b.OK+b.Bad >= b.Total || len(b.Faults) > 0 || b.Cut:
		return Finish
	case b.Ending != "" || now >= b.Due:
		return Drain
	}
	return Answer
}

// Free says that whoever wants to may own the batch.
func (b Batch) Free(now Millis) bool { return !b.Status.Over() && (b.Owner == "" || now >= b.Lease) }

// Claim gives the batch to an owner.
func (b Batch) Claim(owner string, now Millis) (Batch, error) {
	if !b.Free(now) {
		return b, ErrLost
	}
	return b.leased(owner, now), nil
}

// Renew is a word of the owner.
func (b Batch) Renew(owner string, now Millis) (Batch, error) {
	if err := b.owned(owner); err != nil {
		return b, err
	}
	return b.leased(owner, now), nil
}

// Release gives the batch back.
func (b Batch) Release(owner string) (Batch, error) {
	if err := b.owned(owner); err != nil {
		return b, err
	}
	b.Owner, b.Lease = "", 0
	return b, nil
}

func (b Batch) leased(owner string, now Millis) Batch {
	b.Owner, b.Lease = owner, now+LeaseFor
	return b
}

func (b Batch) owned(owner string) error {
	switch {
	case b.Owner != owner:
		return ErrLost
	case b.Status.Over():
		return ErrOver
	}
	return nil
}

// at is the batch in another status.
func (b Batch) at(s Status, now Millis) Batch {
	since := map[Status]Millis{}
	maps.Copy(since, b.Since)
	since[s] = now
	b.Status, b.Since = s, since
	return b
}

// Read notes what the input is: total lines with a request, or faults.
func (b Batch) Read(owner string, total int64, faults []Fault, now Millis) (Batch, error) {
	if err := b.owned(owner); err != nil {
		return b, err
	}
	b = b.leased(owner, now)
	b.Checked, b.Total, b.Faults = true, total, faults
	switch {
	case len(faults) > 0:
		b.Ending = Failed
	case b.Status == Validating:
		b = b.at(InProgress, now)
	}
	return b, nil
}

// Progress is what an owner laid down since the last one.
type Progress struct {
	From   int64 // bytes of the input that were answered before
	To     int64 // and are now
	OK     int64 // lines
	Bad    int64
	Output []Part // all of it, with what is new
	Errors []Part
}

// Advance lays down progress. ErrMade says that it is laid down already.
func (b Batch) Advance(owner string, p Progress, now Millis) (Batch, error) {
	if err := b.owned(owner); err != nil {
		return b, err
	}
	switch {
	case p.To > p.From && b.Offset == p.To:
		return b, ErrMade
	case b.Offset != p.From || p.To < p.From || p.OK < 0 || p.Bad < 0 || b.OK+b.Bad+p.OK+p.Bad > b.Total:
		return b, fmt.Errorf("%w: progress from byte %d, it is at %d", ErrLost, p.From, b.Offset)
	case len(p.Output)+len(p.Errors) > MaxParts:
		return b, ErrFull
	}
	b = b.leased(owner, now)
	if p.To > p.From {
		b.Moved = now
	}
	b.Offset, b.OK, b.Bad, b.Output, b.Errors = p.To, b.OK+p.OK, b.Bad+p.Bad, p.Output, p.Errors
	if b.OK+b.Bad == b.Total && b.Status == InProgress {
		b = b.at(Finalizing, now)
	}
	return b, nil
}

// End decides what a batch comes to: Expired or Failed by its owner. A fault says why it failed.
func (b Batch) End(owner string, as Status, why *Fault, now Millis) (Batch, error) {
	if err := b.owned(owner); err != nil {
		return b, err
	}
	if b.Ending == "" {
		b = b.at(Finalizing, now)
		b.Ending = as
		b.Why = why
	}
	return b.leased(owner, now), nil
}

// TooLarge is why a batch ends whose output cannot be kept.
var TooLarge = Fault{Code: "output_too_large", Message: "What comes out of the batch is larger than a batch may give."}

// Cancel is asked for by whoever the batch belongs to.
func (b Batch) Cancel(now Millis) (Batch, error) {
	switch {
	case b.Status == Cancelling:
		return b, nil
	case b.Status.Over() || b.Ending != "" || b.Status == Finalizing:
		return b, ErrOver
	}
	b = b.at(Cancelling, now)
	b.Ending = Cancelled
	return b, nil
}

// Done ends the batch with the files that came out of it. ErrMade says that it has.
func (b Batch) Done(owner, output, errors string, now Millis) (Batch, error) {
	if b.Status.Over() && b.OutputFile == output && b.ErrorFile == errors {
		return b, ErrMade
	}
	if err := b.owned(owner); err != nil {
		return b, err
	}
	ending := b.Ending
	switch {
	case ending == "" && !b.Checked:
		ending = Expired
	case ending == "":
		ending = Completed
	}
	b = b.at(ending, now)
	b.OutputFile, b.ErrorFile, b.Gone = output, errors, now+Millis(b.Keep)
	b.Output, b.Errors = nil, nil // they are the files' now
	b.Owner, b.Lease = "", 0
	if b.Callback != nil {
		next := *b.Callback
		next.State, next.Next = Pending, now
		b.Callback = &next
	}
	return b, nil
}

// Code is what is written of a line that is not answered, because of what the batch comes to.
func (b Batch) Code() Fault {
	switch {
	case b.Ending == Cancelled:
		return Fault{Code: "batch_cancelled", Message: "The batch was cancelled before this request was made."}
	case b.Ending == Failed && b.Why != nil:
		return *b.Why
	}
	return Fault{Code: "batch_expired", Message: "This request could not be executed before the completion window expired."}
}

// Pace of requests that are made again.
const (
	firstAgain = 500    // milliseconds; it doubles
	lastAgain  = 30_000 // milliseconds, at most
	maxFailed  = 3      // attempts at a request that fails inside
)

// Again says whether a request of a batch that was answered with an HTTP status is made again, and after how many milliseconds. Where a limit
// is reached, or no replica can answer, the line waits for as long as its batch has. tries is how often it was made, after how long the
// answer asks to wait.
func Again(status, tries int, after int64) (wait int64, again bool) {
	switch {
	case status == 429 || status == 503:
	case status >= 500 && status != 501 && tries < maxFailed:
	default:
		return 0, false
	}
	return max(min(after, lastAgain), int64(min(lastAgain, firstAgain<<min(tries-1, 10)))), true
}

// Abandon ends a batch at once: lines that are left are in no file.
func (b Batch) Abandon(owner string, why Fault, now Millis) (Batch, error) {
	b, err := b.End(owner, Failed, &why, now)
	b.Cut, b.Ending = true, Failed
	b.Checked = true
	return b, err
}
