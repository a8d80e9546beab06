package cluster

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

func TestDecodeRefuses(t *testing.T) {
	unknown := func(tag string, v int) func(error) bool {
		return func(err error) bool {
			u := (*UnknownTag)(nil)
			return errors.As(err, &u) && *u == UnknownTag{tag, v} && strings.Contains(err.Error(), "start a newer one")
		}
	}
	malformed := func(err error) bool { return errors.Is(err, ErrMalformed) }
	for _, c := range []struct {
		entry string
		want  func(error) bool
	}{
		{``, malformed},
		{`{"v":1`, malformed},
		{`{"v":1,"at":1,"txns":[]} {}`, malformed},
		{`{"v":1,"at":1,"txns":[],"more":1}`, malformed},
		{`{"v":3,"at":1,"more":[]}`, unknown("envelope", 3)},
		{`{"v":2,"at":1,"txns":[],"more":[]}`, malformed},
		{`{"v":2,"at":1,"txns":[[]]}`, malformed},
		{`{"v":1,"at":1,"txns":[[]],"by":[{"by":"ann"}]}`, malformed},
		{`{"v":1,"at":1,"txns":[[{"t":"put_alias","v":1,"do":{"name":"a","target":{"model":"m","number":1},"was":0,"accept":true}}]]}`, malformed},
		{`{"v":1,"at":1,"txns":[[{"t":"put_alias","v":3,"do":{}}]]}`, unknown("put_alias", 3)},
		{`{"v":1,"at":1,"txns":[[{"t":"init","v":2,"do":{"id":"c","ca_cert":null,"ca_key":null,"feature":9}}]]}`, unknown("feature", 9)},
		{`{"v":1,"at":1,"txns":[[{"t":"put_moon","v":1,"do":{}}]]}`, unknown("put_moon", 1)},
		{`{"v":1,"at":1,"txns":[[{"t":"put_node","v":2,"do":{}}]]}`, unknown("put_node", 2)},
		{`{"v":1,"at":1,"txns":[[{"t":"set_feature","v":1,"do":{"was":1,"feature":9}}]]}`, unknown("feature", 9)},
		{`{"v":1,"at":1,"txns":[[{"t":"delete_node","v":1,"do":{"id":"n1","was":1,"force":true}}]]}`, malformed},
		{`{"v":1,"at":1,"txns":[[{"t":"delete_node","v":1,"do":{"id":7,"was":1}}]]}`, malformed},
		{`{"v":1,"at":1,"txns":[[{"t":"delete_node","v":1}]]}`, malformed},
		{`{"v":1,"at":1,"txns":[` + strings.Repeat(`[],`, MaxTxns) + `[]]}`, malformed},
		{`{"v":1,"at":1,"txns":[[` + strings.Repeat(`{"t":"init","v":1,"do":{}},`, MaxCommands) + `{"t":"init","v":1,"do":{}}]]}`, malformed},
		{`{"v":1,"at":1,"txns":` + strings.Repeat(`[`, 100_000), malformed},
		{`{"v":1,"at":1,"txns":[]}` + strings.Repeat(" ", MaxEntry), malformed},
	} {
		if _, err := Decode([]byte(c.entry)); !c.want(err) {
			t.Errorf("%.80s: %v", c.entry, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, e := range map[string]Envelope{
		"format":       {V: 3},
		"transactions": {V: 1, Txns: make([]Txn, MaxTxns+1)},
		"commands":     {V: 1, Txns: []Txn{{Do: make([]Command, MaxCommands+1)}}},
		"size":         {V: 1, Txns: []Txn{{Do: []Command{Init{ID: strings.Repeat("x", MaxEntry)}}}}},
	} {
		if b, err := Encode(e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// Limits hold in Apply too: an entry that was not made by Encode changes nothing beyond them.
func TestApplyLimits(t *testing.T) {
	s, _ := Apply(State{}, 1, Envelope{V: 1, Txns: []Txn{{Do: []Command{Init{ID: "c"}}}}})
	many := Envelope{V: 1, Txns: make([]Txn, MaxTxns+1)}
	many.Txns[0].Do = make([]Command, MaxCommands+1)
	_, errs := Apply(s, 2, many)
	for _, i := range []int{0, MaxTxns} {
		if r := (*Rejected)(nil); !errors.As(errs[i], &r) || r.Reason != ReasonLimit {
			t.Errorf("transaction %d: %v", i, errs[i])
		}
	}
	if errs[1] != nil {
		t.Errorf("transaction 1: %v", errs[1])
	}
	again, errs := Apply(s, 1, Envelope{V: 1, Txns: []Txn{{Do: []Command{Init{ID: "c"}}}}})
	if r := (*Rejected)(nil); !errors.As(errs[0], &r) || r.Reason != ReasonStale || again.Hash() != s.Hash() {
		t.Errorf("an entry that was applied before: %v", errs[0])
	}
}

// Every command declared in this package is in kinds, under its own tag.
func TestKindsComplete(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "tag" {
				declared++
			}
		}
	}
	if declared != len(kinds) {
		t.Errorf("%d commands are declared and %d can be decoded", declared, len(kinds))
	}
	for tag, k := range kinds {
		c, err := k.decode([]byte(`{}`))
		if err != nil || c.tag() != tag {
			t.Errorf("%s decodes to %T: %v", tag, c, err)
		}
		initialised, _ := Apply(State{}, 1, Envelope{V: 1, Txns: []Txn{{Do: []Command{Init{ID: "c"}}}}})
		if _, errs := Apply(initialised, 2, Envelope{V: 1, Txns: []Txn{{Do: []Command{c}}}}); errs[0] == nil {
			t.Errorf("an empty %s was applied", tag)
		}
	}
}

// FuzzDecode: no bytes make Decode or Apply panic, and what was decoded comes back the same from its encoding.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"at":5,"txns":[[{"t":"init","v":1,"do":{"id":"c1","ca_cert":"AA==","ca_key":null}}],[]]}`))
	f.Add([]byte(`{"v":1,"at":5,"txns":[[{"t":"put_node","v":1,"do":{"node":{"id":"n1","addr":"a:1","devices":[{"id":"g","kind":"host","memory":9223372036854775807}]},"was":0}}]]}`))
	f.Add([]byte(`{"v":1,"at":-1,"txns":[[{"t":"place_replica","v":1,"do":{"replica":{"version":{"model":"m","number":1},"ordinal":0,"epoch":1,"stages":[{"from":0,"to":1,"reserve":-1}],"status":"loading"},"was":0}}]]}`))
	f.Add([]byte(`{"v":1,"at":0,"txns":[[{"t":"put_moon","v":1,"do":{}}]]}`))
	f.Add([]byte(`{"v":9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			if u := (*UnknownTag)(nil); !errors.As(err, &u) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		once, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := Encode(back); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s (%v)", once, twice, err)
		}
		s, _ := Apply(State{}, 1, Envelope{V: 1, Txns: []Txn{{Do: []Command{Init{ID: "c"}}}}})
		s, errs := Apply(s, 2, e)
		if len(errs) != len(e.Txns) || s.Index() != 2 {
			t.Fatalf("%d answers at index %d", len(errs), s.Index())
		}
	})
}
