// Package golden compares what a test sees with text files that people have read.
//
// A run with -rewrite writes the files anew instead; its diff is to be read before it is committed.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew instead of comparing; read the diff")

// Scripts runs a subtest for each of testdata/*.txt. Such a file holds its own outputs: play reads its text, and returns it with the
// outputs as they are now.
func Scripts(t *testing.T, play func(t *testing.T, text string) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			Equal(t, file, play(t, string(text)))
		})
	}
}

// Equal compares text with a file, which need not exist to be written anew.
func Equal(t *testing.T, file, text string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; run with -rewrite and read the diff. Got:\n%s", file, text)
	}
}
