package benchfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
)

// Report is the outcome of one benchmark program.
type Report struct {
	Title    string
	Machine  Machine
	Commit   string
	Sections []Section
}

// Section is a table of figures that were measured in the same way.
type Section struct {
	Title   string
	How     []string // how they were measured, a line each, for people
	Records []Record
}

// Write makes NAME.json and NAME.txt in dir, which it creates. Both come whole or not at all.
func (r Report) Write(dir, name string) error {
	var all []Record
	for i := range r.Sections {
		for j := range r.Sections[i].Records {
			rec := &r.Sections[i].Records[j]
			rec.Machine, rec.Commit = r.Machine, r.Commit
			all = append(all, *rec)
		}
	}
	text, err := lines(all)
	if err != nil {
		return err
	}
	if _, err := parse(text); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("benchfile: %w", err)
	}
	for suffix, content := range map[string][]byte{".json": text, ".txt": r.text()} {
		path := filepath.Join(dir, name+suffix)
		if err := os.WriteFile(path+".tmp", content, 0o644); err != nil {
			return fmt.Errorf("benchfile: %w", err)
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			return fmt.Errorf("benchfile: %w", err)
		}
	}
	return nil
}

// lines is a JSON list with a record per line, so that a diff shows which figures changed.
func lines(all []Record) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, r := range all {
		text, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrRecord, r.Name, err)
		}
		b.Write(text)
		if i < len(all)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	return b.Bytes(), nil
}

// text is the report for people.
func (r Report) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n%s\nload average %.2f at the start, %.2f at the end; %s; commit %s\n", r.Title, r.Machine, r.Machine.LoadStart, r.Machine.LoadEnd, r.Machine.Date, r.Commit)
	b.WriteString("Values are medians over rounds, with the lowest and the highest round behind them. A peer was measured in the same rounds;\nthe ratio is the median of the rounds' ratios.\n")
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "\n%s\n", s.Title)
		for _, how := range s.How {
			fmt.Fprintf(&b, "  %s\n", how)
		}
		b.WriteByte('\n')
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  figure\tvalue\tunit\tlow..high\trounds\tbetter\tpeer value\tratio\tgoal\tpeer")
		for _, rec := range s.Records {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", rec.Name, number(&rec.Value), rec.Unit,
				number(&rec.low)+".."+number(&rec.high), rec.rounds, rec.Better, number(rec.PeerValue), number(rec.Ratio), rec.goal(), or(rec.Peer, "-"))
		}
		w.Flush()
	}
	return b.Bytes()
}

func (r Record) goal() string {
	switch {
	case r.Goal == nil:
		return "-"
	case r.Met():
		return number(r.Goal) + " met"
	}
	return number(r.Goal) + " MISSED"
}

func number(v *float64) string {
	if v == nil {
		return "-"
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}

func or(s, none string) string {
	if s == "" {
		return none
	}
	return s
}
