package coordinator

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/cluster"
)

// ErrRevocations says that a file cannot tell what happened after a backup.
var ErrRevocations = errors.New("coordinator: these are not the records of what happened after the backup")

// repeat makes those changes again that were made after the backup to whoever is let in: keys, tenants, applications, providers of people
// and their roles. Such a change that cannot be repeated ends the restore: it could be a revocation.
func (t *restoration) repeat(head audit.Head) error {
	return later(t.Revocations, t.Passphrase, head, func(r audit.Record) error {
		if r.Outcome != audit.Applied {
			return nil
		}
		asked, err := cluster.Asked(r)
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Seq, err)
		}
		var do []cluster.Command
		for _, c := range asked {
			if again := admission(t.state, c); again != nil {
				do = append(do, again)
			}
		}
		if len(do) == 0 {
			return nil
		}
		by := cluster.Asker{By: "restore, as before by " + r.By, Request: r.Request}
		err = t.apply(by, do...)
		var rejected *cluster.Rejected
		if errors.As(err, &rejected) && rejected.Reason == cluster.ReasonInUse {
			err = t.shut(by, do)
		}
		if err != nil {
			return fmt.Errorf("repeat record %d: %w", r.Seq, err)
		}
		t.out.Repeated++
		return nil
	})
}

// shut disables tenants that were deleted later and own models or deployments in the backup.
func (t *restoration) shut(by cluster.Asker, do []cluster.Command) error {
	for i, c := range do {
		if c, ok := c.(cluster.DeleteTenant); ok {
			tenant, _ := t.state.Tenant(c.ID)
			tenant.Disabled = true
			do[i] = cluster.PutTenant{Tenant: tenant, Was: c.Was}
		}
	}
	return t.apply(by, do...)
}

// admission is a command about who is let in, as it has to be said to another state; nil for every other command.
func admission(s cluster.State, c cluster.Command) cluster.Command {
	switch c := c.(type) {
	case cluster.PutKey:
		old, _ := s.Key(c.Key.ID)
		c.Was = old.Rev
		return c
	case cluster.PutTenant:
		old, _ := s.Tenant(c.Tenant.ID)
		c.Was = old.Rev
		return c
	case cluster.DeleteTenant:
		old, _ := s.Tenant(c.ID)
		c.Was = old.Rev
		return c
	case cluster.PutApplication:
		old, _ := s.Application(c.Application.AppID)
		c.Was = old.Rev
		return c
	case cluster.DeleteApplication:
		old, _ := s.Application(c.ID)
		c.Was = old.Rev
		return c
	case cluster.PutDocument:
		if k := c.Document.Kind; k == cluster.Provider || k == cluster.RoleBinding {
			old, _ := s.Document(c.Document.DocumentID)
			c.Was = old.Rev
			return c
		}
	case cluster.DeleteDocument:
		if k := c.ID.Kind; k == cluster.Provider || k == cluster.RoleBinding {
			old, _ := s.Document(c.ID)
			c.Was = old.Rev
			return c
		}
	}
	return nil
}

// later gives the records after a head from an export of the audit log, or from a later backup. The chain must be whole from its
// beginning, and pass through that head: records of another cluster, or of another course of events, say nothing.
func later(file string, passphrase []byte, head audit.Head, take func(audit.Record) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	if backup.Is(in) {
		return laterInBackup(file, passphrase, head, take)
	}
	end, err := audit.Verify(audit.Head{}, taken(in, head, take), head)
	if err == nil && head.Seq == 0 && end.Seq == 0 {
		err = errors.New("there are none")
	}
	var failed errTaken
	if errors.As(err, &failed) {
		return failed.error
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRevocations, err)
	}
	return nil
}

// errTaken is an error of whoever takes records, not of the records.
type errTaken struct{ error }

func (e errTaken) Unwrap() error { return e.error }

// taken yields lines, and gives each that comes after a head on once it was verified.
func taken(in io.Reader, head audit.Head, take func(audit.Record) error) iter.Seq2[audit.Line, error] {
	return func(yield func(audit.Line, error) bool) {
		for line, err := range audit.Lines(in) {
			if !yield(line, err) || err != nil {
				return
			}
			if line.Record.Seq <= head.Seq {
				continue
			}
			if err := take(line.Record); err != nil {
				yield(audit.Line{}, errTaken{err})
				return
			}
		}
	}
}

func laterInBackup(file string, passphrase []byte, head audit.Head, take func(audit.Record) error) error {
	h, err := backup.ReadFile(file, passphrase, backup.Into{
		Header: func(h backup.Header) error {
			if h.Audit.Seq < head.Seq {
				return fmt.Errorf("%w: the backup is older", ErrRevocations)
			}
			return nil
		},
		Record: func(before audit.Head, encoded []byte) error {
			if before.Seq < head.Seq {
				return nil
			}
			if before.Seq == head.Seq && before != head {
				return fmt.Errorf("%w: another course of events", ErrRevocations)
			}
			r, err := audit.Decode(encoded)
			if err != nil {
				return err
			}
			return take(r)
		},
	})
	if err == nil && h.Audit.Seq == head.Seq && h.Audit != head {
		err = fmt.Errorf("%w: another course of events", ErrRevocations)
	}
	return err
}
