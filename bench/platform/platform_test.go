package main

import (
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/router"
)

// The state of the benchmarks is what it says it is, and every command is applied to it.
func TestWorld(t *testing.T) {
	z := size{tenants: 40, models: 3}
	s, err := z.build()
	if err != nil {
		t.Fatal(err)
	}
	rows, routes := 0, 0
	for u := range s.Usage(start) {
		if u.Calls > 0 {
			rows++
		}
	}
	table := router.TableOf(s)
	for i := range z.models {
		routes += len(table.Routes(versionName(i, 1))) + len(table.Routes(versionName(i, 2)))
	}
	if want := z.tenants * z.models; rows != want || routes != 2*z.models {
		t.Errorf("%d rows of the bill and %d routes, want %d and %d", rows, routes, want, 2*z.models)
	}
	for i := range z.tenants {
		for _, l := range limits() {
			id := l.ID(cluster.TenantSubject(tenantName(i)))
			if held := len(s.Balance(id).Leases); held != callersOf {
				t.Errorf("%d gateways hold %s, want %d", held, id, callersOf)
			}
		}
	}
	for _, c := range commands() {
		r, err := z.script(s, c)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := r.apply(1); err != nil || v <= 0 {
			t.Errorf("%s: %g, %v", c.name, v, err)
		}
	}
}

// What is written to the audit log can be verified, and against its own head only.
func TestAudit(t *testing.T) {
	dir := t.TempDir()
	head, err := writeRecords(dir)
	if err != nil || head.Seq != auditRecords {
		t.Fatalf("%v, %v", head, err)
	}
	if err := verify(dir, head); err != nil {
		t.Error(err)
	}
	head.Hash[0]++
	if verify(dir, head) == nil {
		t.Error("another head is the same")
	}
}

// No rule of the benchmark fires or fails to compile, so that what is measured is evaluation.
func TestRules(t *testing.T) {
	b := bench{size: size{tenants: 40, models: 3}}
	w, err := b.watched()
	if err != nil {
		t.Fatal(err)
	}
	if first, again, err := w.evaluate(t.Context(), w.rules()[:40]); err != nil || first <= 0 || again <= 0 {
		t.Errorf("%g, %g, %v", first, again, err)
	}
}
