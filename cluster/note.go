package cluster

import "slices"

// NoteRefusals changes nothing: it puts into the audit log which changes somebody wanted and was refused before they could be proposed,
// summed up over a while. What comes back from Apply rejected is in the log anyway.
type NoteRefusals struct {
	Refusals []Refusals `json:"refusals"`
	More     int64      `json:"more,omitempty"` // refused calls that are in none of the rows
}

// Refusals are equal calls that were refused.
type Refusals struct {
	By        string `json:"by,omitempty"`   // who called, for people, without any secret; "" = nobody that is known
	From      string `json:"from,omitempty"` // address of the caller; "" = not known
	Procedure string `json:"procedure,omitempty"`
	Why       string `json:"why"`
	First     Millis `json:"first"`
	Last      Millis `json:"last"`
	Calls     int64  `json:"calls"`
}

// NoteDownload changes nothing: it puts into the audit log that whoever asks for it takes files of a version.
type NoteDownload struct {
	Version VersionID `json:"version"`
}

// NoteResults changes nothing: it puts into the audit log what whoever asks for it does with what was kept of requests.
type NoteResults struct {
	Deed    string   `json:"deed"`              // "export", "forget" or "rerun"
	Tenant  string   `json:"tenant,omitempty"`  // whose records alone; "" = of all tenants
	Where   []string `json:"where,omitempty"`   // conditions, as they were asked
	Version string   `json:"version,omitempty"` // that records are asked again of
}

func (NoteResults) tag() string  { return "note_results" }
func (NoteRefusals) tag() string { return "note_refusals" }
func (NoteDownload) tag() string { return "note_download" }

func (s *State) noteRefusals(c NoteRefusals) error {
	switch {
	case len(c.Refusals) == 0 || c.More < 0:
		return reject(ReasonInvalid, "refusals", "there are none")
	case len(c.Refusals) > MaxRefusals:
		return reject(ReasonLimit, "refusals", "%d rows, at most %d are allowed", len(c.Refusals), MaxRefusals)
	}
	for _, r := range c.Refusals {
		if r.Calls < 1 || max(len(r.By), len(r.From), len(r.Procedure), len(r.Why)) > MaxWhy {
			return reject(ReasonInvalid, "refusals", "a row of no calls, or of words over %d bytes", MaxWhy)
		}
	}
	return nil
}

func (s *State) noteResults(c NoteResults) error {
	if c.Deed == "" || len(c.Where) > MaxNotedConditions {
		return reject(ReasonInvalid, "results", "no deed, or more than %d conditions", MaxNotedConditions)
	}
	for _, w := range slices.Concat(c.Where, []string{c.Deed, c.Tenant, c.Version}) {
		if len(w) > MaxWhy {
			return reject(ReasonLimit, "results", "words over %d bytes", MaxWhy)
		}
	}
	return nil
}

func (s *State) noteDownload(c NoteDownload) error {
	if !s.versions.Has(c.Version) {
		return reject(ReasonNotFound, "version "+c.Version.String(), "it does not exist")
	}
	return nil
}
