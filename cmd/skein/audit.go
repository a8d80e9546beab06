package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/client"
)

func (a *app) audit() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "The record of every change"}
	c.AddCommand(a.auditList(), a.auditExport(), a.auditHead(), a.auditVerify())
	return c
}

// records writes the lines of the audit log from a record on.
func records(ctx context.Context, c *client.Client, req *adminv1.GetRecordsRequest, w io.Writer) error {
	res, err := c.Audit.GetRecords(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	defer res.Close()
	for res.Receive() {
		if _, err := w.Write(res.Msg().Lines); err != nil {
			return err
		}
	}
	return res.Err()
}

func (a *app) auditList() *cobra.Command {
	req := &adminv1.GetRecordsRequest{}
	c := &cobra.Command{Use: "list", Short: "Show the last changes", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		var b bytes.Buffer
		if err := records(cmd.Context(), c, req, &b); err != nil {
			return err
		}
		if a.output == "json" {
			_, err := cmd.OutOrStdout().Write(b.Bytes())
			return err
		}
		var broken error
		err := table(cmd.OutOrStdout(), "RECORD TIME BY CHANGE OUTCOME", func(row func(...any)) {
			for line, err := range audit.Lines(&b) {
				if err != nil {
					broken = err
					return
				}
				row(line.Record.Seq, when(line.Record.At), line.Record.By, changes(line.Record.Commands), line.Record.Outcome)
			}
		})
		return errors.Join(err, broken)
	})}
	c.Flags().Uint64Var(&req.Last, "last", 20, "how many")
	return c
}

// changes names the commands of a record, with what they are about.
func changes(commands json.RawMessage) string {
	var list []struct {
		T  string          `json:"t"`
		Do json.RawMessage `json:"do"`
	}
	if err := json.Unmarshal(commands, &list); err != nil {
		return string(commands)
	}
	var out []string
	for _, c := range list {
		const most = 160 // characters of a command
		text := string(c.Do)
		if len(text) > most {
			text = text[:most] + "…"
		}
		out = append(out, c.T+" "+text)
	}
	return strings.Join(out, "; ")
}

func (a *app) auditExport() *cobra.Command {
	return &cobra.Command{Use: "export FILE", Short: "Write all records to a file, one line of JSON each", Args: cobra.ExactArgs(1), RunE: a.with(func(cmd *cobra.Command, c *client.Client, args []string) (err error) {
		f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		w := bufio.NewWriter(f)
		err = records(cmd.Context(), c, &adminv1.GetRecordsRequest{}, w)
		if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
			return errors.Join(err, os.Remove(args[0]))
		}
		return nil
	})}
}

func (a *app) auditHead() *cobra.Command {
	return &cobra.Command{Use: "head", Short: "Print the signed end of the chain; kept elsewhere, it proves later that nothing before it was changed", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		res, err := c.Audit.GetHead(cmd.Context(), connect.NewRequest(&adminv1.GetHeadRequest{}))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", res.Msg.Signed)
		return err
	})}
}

func (a *app) auditVerify() *cobra.Command {
	var file, heads string
	c := &cobra.Command{Use: "verify", Short: "Recompute the chain, and compare it with the head that the coordinators agree on and with heads that were kept", Args: cobra.NoArgs,
		RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			res, err := c.Audit.GetHead(cmd.Context(), connect.NewRequest(&adminv1.GetHeadRequest{}))
			if err != nil {
				return err
			}
			var now audit.Signed
			if err := json.Unmarshal(res.Msg.Signed, &now); err != nil {
				return fmt.Errorf("read the head: %w", err)
			}
			authority, err := x509.ParseCertificate(res.Msg.Authority)
			if err != nil {
				return fmt.Errorf("read the authority's certificate: %w", err)
			}
			known, err := keptHeads(heads, authority.PublicKey)
			if err != nil {
				return err
			}
			if err := audit.Check(now, authority.PublicKey); err != nil {
				return err
			}
			lines, err := a.auditLines(cmd.Context(), c, file, now.Head.Seq)
			if err != nil {
				return err
			}
			end, err := audit.Verify(audit.Head{}, audit.Lines(lines), append(known, now.Head)...)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d records, none changed; %d kept heads agree\n", end.Seq, len(known))
			return err
		})}
	c.Flags().StringVar(&file, "file", "", "verify an exported file instead of what the cluster has")
	c.Flags().StringVar(&heads, "heads", "", "file of signed heads that were kept, one line of JSON each, oldest first")
	return c
}

// auditLines is the records up to one, from a file or from the cluster.
func (a *app) auditLines(ctx context.Context, c *client.Client, file string, until uint64) (io.Reader, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		return bytes.NewReader(b), err
	}
	var b, out bytes.Buffer
	if err := records(ctx, c, &adminv1.GetRecordsRequest{}, &b); err != nil {
		return nil, err
	}
	for line, err := range audit.Lines(&b) { // what was added since the head was given is not judged
		if err != nil {
			return nil, err
		}
		if line.Record.Seq > until {
			break
		}
		out.Write(audit.AppendLine(nil, line.Encoded, audit.Head{Seq: line.Record.Seq, Hash: line.Hash}))
	}
	return &out, nil
}

// keptHeads reads heads that were kept, and checks who signed them.
func keptHeads(file string, authority crypto.PublicKey) (known []audit.Head, err error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		var s audit.Signed
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if err := audit.Check(s, authority); err != nil {
			return nil, err
		}
		known = append(known, s.Head)
	}
	return known, nil
}
