// Package pgtest starts a real PostgreSQL server for a test.
package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Server is a running server.
type Server struct {
	URL string // of an empty database

	t          testing.TB
	bin, dir   string
	port       int
	credential *syscall.Credential
}

// wait bounds the start and the end of a server.
const wait = 60 * time.Second

// Start starts a server with an empty database, which ends with the test. Where PostgreSQL is not installed the test is skipped; SKEIN_POSTGRES
// names the folder of its programs.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t}
	for _, folder := range []string{os.Getenv("SKEIN_POSTGRES"), "/usr/local/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin", "/usr/bin"} {
		if _, err := os.Stat(filepath.Join(folder, "initdb")); folder != "" && err == nil {
			s.bin = folder
			break
		}
	}
	if s.bin == "" {
		t.Skip("PostgreSQL is not installed: initdb is not found (SKEIN_POSTGRES names its folder)")
	}
	if real, err := filepath.EvalSymlinks(filepath.Join(s.bin, "initdb")); err == nil {
		s.bin = filepath.Dir(real)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "skein-postgres-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if os.Getuid() == 0 { // it refuses to run as root
		s.unprivileged()
	}
	data := filepath.Join(s.dir, "data")
	s.run("initdb", "-D", data, "-U", "skein", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	s.URL = fmt.Sprintf("postgres://skein@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	s.Up()
	t.Cleanup(s.Down)
	return s
}

func (s *Server) unprivileged() {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	s.t.Skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	if out, err := c.CombinedOutput(); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		s.t.Fatalf("%s: %v\n%s%s", name, err, out, log)
	}
}

// Up starts the server again after Down.
func (s *Server) Up() {
	s.t.Helper()
	options := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories=%s -c shared_buffers=64MB", s.port, s.dir)
	s.run("pg_ctl", "-D", filepath.Join(s.dir, "data"), "-l", filepath.Join(s.dir, "log"), "-w", "-o", options, "start")
}

// Down ends the server at once, as a crash does, if it runs.
func (s *Server) Down() {
	s.t.Helper()
	if _, err := os.Stat(filepath.Join(s.dir, "data", "postmaster.pid")); err == nil {
		s.run("pg_ctl", "-D", filepath.Join(s.dir, "data"), "-w", "-m", "immediate", "stop")
	}
}
