package raftstore

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func TestRaftLogger(t *testing.T) {
	var out bytes.Buffer
	var l hclog.Logger = raftLogger{to: slog.New(slog.NewTextHandler(&out, nil)), name: "raft"}
	l.Debug("hidden")
	l = l.With("server", "a")
	l.Warn("slow", "peer", hclog.Fmt("%s/%d", "b", 7))
	l.Named("net").Error("gone", "n", 1)
	json := raftLogger{to: slog.New(slog.NewJSONHandler(&out, nil))}
	json.Info("entering state", "node", raft.Follower)
	text := out.String()
	for _, want := range []string{"level=WARN msg=slow server=a peer=b/7", "level=ERROR msg=gone server=a n=1", `"node":"Follower"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	if strings.Contains(text, "hidden") || l.IsDebug() || !l.IsInfo() || l.GetLevel() != hclog.Info {
		t.Errorf("level: %q", text)
	}
}
