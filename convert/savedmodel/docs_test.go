package savedmodel

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// docs/savedmodel.md lists the operations that are mapped, and no others.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/savedmodel.md")
	if err != nil {
		t.Fatal(err)
	}
	part := regexp.MustCompile(`(?s)## Operations\n.*?\n\n(.*?)\n\n`).FindSubmatch(text)
	if part == nil {
		t.Fatal("no list of operations")
	}
	var listed []string
	for _, m := range regexp.MustCompile("`([A-Za-z0-9]+)`").FindAllSubmatch(part[1], -1) {
		listed = append(listed, string(m[1]))
	}
	want := slices.Sorted(maps.Keys(operations))
	want = append(want, slices.Sorted(maps.Keys(passes))...)
	want = append(want, "PartitionedCall", "StatefulPartitionedCall", "Switch", "Merge", "VarHandleOp", "VariableV2", "Variable", "Placeholder", "NoOp")
	slices.Sort(want)
	slices.Sort(listed)
	if !slices.Equal(listed, want) {
		t.Errorf("listed %q\nwant   %q", listed, want)
	}
}
