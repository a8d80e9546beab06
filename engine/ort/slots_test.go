package ort

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// entry is one member of the C API's table, however the header declares it.
var entry = regexp.MustCompile(`ORT_API2_STATUS\(\s*(\w+)|ORT_CLASS_RELEASE\(\s*(\w+)\s*\)|\(ORT_API_CALL\s*\*\s*(\w+)\s*\)`)

// members lists the table of a header in its order.
func members(t *testing.T, header string) []string {
	text := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(header, "")
	text = regexp.MustCompile(`//[^\n]*`).ReplaceAllString(text, "")
	_, text, found := strings.Cut(text, "\nstruct OrtApi {")
	text, _, ended := strings.Cut(text, "\n};")
	if !found || !ended || strings.Contains(text, "#if") {
		t.Fatal("the header has no OrtApi that this test can read")
	}
	var names []string
	for _, m := range entry.FindAllStringSubmatch(text, -1) {
		switch {
		case m[1] != "":
			names = append(names, m[1])
		case m[2] != "":
			names = append(names, "Release"+m[2])
		default:
			names = append(names, m[3])
		}
	}
	return names
}

// TestSlots: every position that native.h uses is that of the header in the Go binding, and so is the version.
func TestSlots(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		t.Skipf("no go command, or no module cache, to find the header with: %v", err)
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "onnxruntime_c_api.h"))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile("native.h")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`#define SKEIN_API_VERSION (\d+)`).FindSubmatch(ours)
	if version == nil || !regexp.MustCompile(`#define ORT_API_VERSION `+string(version[1])+`\b`).Match(header) {
		t.Errorf("the header's version is not %s", version)
	}
	names := members(t, string(header))
	if len(names) < 300 {
		t.Fatalf("only %d members: the header is not understood", len(names))
	}
	used := regexp.MustCompile(`X\((\w+), (\d+)\)`).FindAllSubmatch(ours, -1)
	if len(used) < 20 {
		t.Fatalf("native.h names %d positions", len(used))
	}
	for _, m := range used {
		n, err := strconv.Atoi(string(m[2]))
		if err != nil || n >= len(names) || names[n] != string(m[1]) {
			t.Errorf("%s is not at %s", m[1], m[2])
		}
	}
}
