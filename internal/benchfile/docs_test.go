package benchfile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Documents quote a figure as a link to its record: [724 tokens/s](docs/bench/core.json#decode/whole/8). The number and the unit are the
// record's, with as many digits as the document likes.
var (
	quoted = regexp.MustCompile(`\[([0-9][0-9.,]*) ([^\]]+)\]\(([^)#]*docs/bench/|[^)#]*bench/)([a-z-]+)\.json#([^)]+)\)`)
	loose  = regexp.MustCompile(`[0-9][0-9.,]* ?(tokens/s|commits/s|commands/s|demands/s|requests/s|records/s)`)
)

// checkQuotes lists the figures of a document that are not in the records, and those that are given without a record.
func checkQuotes(text string, records func(file string) ([]Record, error)) (wrong []string) {
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		if err := checkQuote(m[1], m[2], m[4], m[5], records); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", m[0], err))
		}
	}
	for _, m := range loose.FindAllString(quoted.ReplaceAllString(text, ""), -1) {
		wrong = append(wrong, m+": a figure without a link to its record")
	}
	return wrong
}

func checkQuote(number, unit, file, name string, records func(string) ([]Record, error)) error {
	all, err := records(file)
	if err != nil {
		return err
	}
	digits := strings.ReplaceAll(number, ",", "")
	value, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return err
	}
	_, fraction, _ := strings.Cut(digits, ".")
	for _, r := range all {
		if r.Name != name {
			continue
		}
		if r.Unit != unit {
			return fmt.Errorf("the record's unit is %s", r.Unit)
		}
		if got := strconv.FormatFloat(r.Value, 'f', len(fraction), 64); got != strconv.FormatFloat(value, 'f', len(fraction), 64) {
			return fmt.Errorf("the record says %s", got)
		}
		return nil
	}
	return fmt.Errorf("no record %q in %s.json", name, file)
}

func TestCheckQuotes(t *testing.T) {
	records := func(file string) ([]Record, error) {
		if file != "core" {
			return nil, os.ErrNotExist
		}
		return []Record{{Name: "decode/whole/8", Value: 1724.4, Unit: "tokens/s"}, {Name: "hop/p50", Value: 98.76, Unit: "us"}}, nil
	}
	for _, good := range []string{
		"It decodes [1,724 tokens/s](docs/bench/core.json#decode/whole/8), a hop is [98.8 us](bench/core.json#hop/p50).", "chunks of 4 MiB, every 100 ms", "",
	} {
		if wrong := checkQuotes(good, records); len(wrong) > 0 {
			t.Errorf("%q: %v", good, wrong)
		}
	}
	for _, bad := range []string{
		"[1,725 tokens/s](docs/bench/core.json#decode/whole/8)", "[1,724 us](docs/bench/core.json#decode/whole/8)", "[98.7 us](docs/bench/core.json#hop/p50)",
		"[98.8 us](docs/bench/core.json#hop/p99)", "[98.8 us](docs/bench/other.json#hop/p50)", "as many as 1,724 tokens/s", "5507 commits/s",
	} {
		if wrong := checkQuotes(bad, records); len(wrong) != 1 {
			t.Errorf("%q: %v", bad, wrong)
		}
	}
}

// What was measured and committed can be read, has its text beside it, and is what the documents say.
func TestCommitted(t *testing.T) {
	root := filepath.Join("..", "..")
	dir := filepath.Join(root, "docs", "bench")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no results in docs/bench: %v", err)
	}
	for _, f := range files {
		records, err := Read(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(strings.TrimSuffix(f, ".json") + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if line := fmt.Sprintf("  %s ", r.Name); !strings.Contains(string(text), line) || !strings.Contains(string(text), " "+number(&r.Value)+" ") || !strings.Contains(string(text), r.Commit) {
				t.Errorf("%s: %s = %v is not in the text", f, r.Name, r.Value)
			}
		}
	}
	records := func(file string) ([]Record, error) { return Read(filepath.Join(dir, file+".json")) }
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	if len(documents) == 0 {
		t.Fatal("no documents")
	}
	for _, d := range documents {
		text, err := os.ReadFile(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range checkQuotes(string(text), records) {
			t.Errorf("%s: %s", filepath.Base(d), wrong)
		}
	}
}
