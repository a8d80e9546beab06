package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/skein-project/skein/alert"
)

func TestAlertmanagerBody(t *testing.T) {
	var path, auth string
	var list []map[string]any
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		path, auth = r.URL.Path, r.Header.Get("Authorization")
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Error(err)
		}
	})
	n := notification(url)
	n.Receiver.Protocol = alert.Alertmanager
	s := sender(t, Config{Secret: func(string) []byte { return []byte("token") }})
	if sent := s.Send(t.Context(), n); sent.Failed != "" {
		t.Fatal(sent.Failed)
	}
	if path != "/hook/api/v2/alerts" || auth != "Bearer token" || len(list) != 2 {
		t.Fatalf("%s %s %v", path, auth, list)
	}
	ends := func(i int) time.Time {
		at, err := time.Parse(time.RFC3339, fmt.Sprint(list[i]["endsAt"]))
		if err != nil {
			t.Error(err)
		}
		return at
	}
	if d := time.Until(ends(0)); d < stays-time.Minute || d > stays || !ends(1).Equal(opened.Add(time.Minute)) {
		t.Errorf("%v", list)
	}
}

// The real Alertmanager takes what we send: SKEIN_ALERTMANAGER, or the one on the PATH.
func TestRealAlertmanager(t *testing.T) {
	program := os.Getenv("SKEIN_ALERTMANAGER")
	for _, name := range []string{"alertmanager", "prometheus-alertmanager"} {
		if program == "" {
			program, _ = exec.LookPath(name)
		}
	}
	if program == "" {
		t.Skip("no Alertmanager: neither SKEIN_ALERTMANAGER nor on the PATH")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(config, []byte("route:\n  receiver: none\nreceivers:\n  - name: none\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.CommandContext(t.Context(), program, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--cluster.listen-address=")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	wait := func(what string, ready func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ready(); <-tick.C {
			if time.Now().After(deadline) {
				cmd.Process.Kill()
				cmd.Wait()
				t.Fatalf("waited for %s; it said:\n%s", what, said.String())
			}
		}
	}
	wait("Alertmanager", func() bool {
		res, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == 200
	})
	n := notification("http://" + addr)
	n.Receiver.Protocol = alert.Alertmanager
	s := sender(t, Config{})
	tell := func(n alert.Notification) {
		t.Helper()
		if sent := s.Send(t.Context(), n); sent.Failed != "" {
			t.Fatal(sent.Failed)
		}
	}
	active := func() (names []string) {
		res, err := http.Get("http://" + addr + "/api/v2/alerts?active=true")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var list []struct {
			Labels, Annotations map[string]string
		}
		body, _ := io.ReadAll(res.Body)
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, a := range list {
			names = append(names, a.Labels["alertname"]+" "+a.Labels["version"]+" "+a.Labels["severity"]+" "+a.Annotations["why"])
		}
		return names
	}
	tell(n)
	tell(n) // is no second alert
	want := "few m@1 critical skein why m@1"
	wait("one open alert", func() bool { names := active(); return len(names) == 1 && names[0] == want })
	ended := incident("m@1", alert.Resolved)
	ended.Ended = alert.Millis(time.Now().UnixMilli())
	n.Incidents = []alert.Incident{ended}
	tell(n)
	wait("no open alert", func() bool { return len(active()) == 0 })
}
