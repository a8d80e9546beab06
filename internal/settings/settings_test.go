package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/skein-project/skein/internal/settings"
)

type Shared struct {
	Level string `yaml:"log_level" help:"how much"`
}

type config struct {
	Dir    string        `yaml:"dir" help:"where"`
	Peers  []string      `yaml:"peers" help:"who"`
	Pause  time.Duration `yaml:"pause" help:"how long"`
	Count  int           `yaml:"count" help:"how many"`
	Found  bool          `yaml:"found" help:"whether"`
	Token  string        `yaml:"token" help:"what" secret:"true"`
	Inside string        `yaml:"-"`
	Shared `yaml:",inline"`
}

func file(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Flags win over the environment, that over the file, and that over the defaults; the origin says which one it was.
func TestOrder(t *testing.T) {
	c := config{Dir: "/default", Pause: time.Second, Count: 1, Inside: "kept"}
	s := settings.Of(&c)
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	s.Flags(fs)
	if err := fs.Parse([]string{"--count", "4", "--peers", "a:1", "--peers", "b:2", "--found"}); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"SKEIN_PAUSE": "3s", "SKEIN_COUNT": "3", "SKEIN_TOKEN": "hush", "SKEIN_LOG_LEVEL": "debug"}
	name := file(t, "version: 1\npause: 2s\ncount: 2\nlog_level: warn\npeers: [c:3]\n")
	if err := s.Load(name, func(k string) (string, bool) { v, ok := env[k]; return v, ok }); err != nil {
		t.Fatal(err)
	}
	if c.Dir != "/default" || c.Pause != 3*time.Second || c.Count != 4 || !c.Found || c.Level != "debug" || strings.Join(c.Peers, " ") != "a:1 b:2" || c.Inside != "kept" {
		t.Errorf("%+v", c)
	}
	var out strings.Builder
	if err := s.Print(&out, true); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"dir", "/default", "default"}, {"pause", "3s", "SKEIN_PAUSE"}, {"count", "4", "--count"}, {"token", "(secret)", "SKEIN_TOKEN"}, {"found", "true", "--found"}} {
		if !hasLine(out.String(), line) {
			t.Errorf("no line %v in\n%s", line, out.String())
		}
	}
	out.Reset()
	if err := s.Print(&out, false); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hush") {
		t.Errorf("a secret is printed:\n%s", out.String())
	}
	// What is printed is a file that gives the same values.
	again := config{Inside: "kept", Token: c.Token}
	if err := settings.Of(&again).Load(file(t, out.String()), func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	if again.Pause != c.Pause || again.Count != c.Count || again.Level != c.Level || again.Dir != c.Dir {
		t.Errorf("read back %+v, want %+v", again, c)
	}
}

func hasLine(text string, fields []string) bool {
	for l := range strings.Lines(text) {
		if strings.Join(strings.Fields(l), "\t") == strings.Join(fields, "\t") {
			return true
		}
	}
	return false
}

func TestRefused(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"unknown key":     {"version: 1\ndirr: x\n", `:2: there is no setting "dirr"`},
		"key of a shared": {"version: 1\nShared: {log_level: x}\n", "there is no setting"},
		"inner field":     {"version: 1\ninside: x\n", "there is no setting"},
		"no version":      {"dir: x\n", "version: 1"},
		"other version":   {"version: 2\n", "version: 1"},
		"empty":           {"", "version: 1"},
		"twice":           {"version: 1\ndir: a\ndir: b\n", "already defined"},
		"wrong type":      {"version: 1\ncount: many\n", "many"},
		"not a mapping":   {"- 1\n", "cannot unmarshal"},
		"not yaml":        {"version: 1\n\t{", "yaml"},
		"too large":       {"version: 1\ndir: " + strings.Repeat("x", 1<<20), "more than"},
		"wrong duration":  {"version: 1\npause: soon\n", "soon"},
	} {
		err := settings.Of(&config{}).Load(file(t, c.text), none)
		if !errors.Is(err, settings.ErrFile) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := settings.Of(&config{}).Load(filepath.Join(t.TempDir(), "none"), none); !errors.Is(err, settings.ErrFile) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	err := settings.Of(&config{}).Load("", func(k string) (string, bool) { return "x", k == "SKEIN_COUNT" })
	if !errors.Is(err, settings.ErrValue) || !strings.Contains(err.Error(), "SKEIN_COUNT") {
		t.Errorf("a bad variable: %v", err)
	}
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	settings.Of(&config{}).Flags(fs)
	if err := fs.Parse([]string{"--pause", "soon"}); err == nil || !strings.Contains(err.Error(), "--pause") {
		t.Errorf("a bad flag: %v", err)
	}
}
