package main

import (
	"fmt"
	"os"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/scheduler"
)

// saveRecording writes the leader's recording to a file.
func saveRecording(cmd *cobra.Command, c *client.Client, path string) error {
	in, err := c.Deployments.GetRecording(cmd.Context(), connect.NewRequest(&adminv1.GetRecordingRequest{}))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for in.Receive() {
		if _, err := out.Write(in.Msg().Data); err != nil {
			out.Close()
			return err
		}
	}
	if err := in.Err(); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// replay takes the decisions of a recording again, with the scheduler of this program, and prints them.
func (a *app) replay() *cobra.Command {
	return &cobra.Command{Use: "replay FILE", Short: "Take the scheduler's decisions of a recording (skein why --record) again, and print them", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		r, err := scheduler.ReadRecording(f)
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		for i, out := range scheduler.Replay(r) {
			if len(out.Txns) == 0 && len(out.Notes) == 0 && len(out.Probes) == 0 {
				continue
			}
			fmt.Fprintf(w, "%s  state %d\n", r.Steps[i].Now.Format("15:04:05.000"), r.Steps[i].Input.State.Index())
			for _, t := range out.Txns {
				for _, c := range t.Do {
					fmt.Fprintf(w, "  %T %+v\n", c, c)
				}
			}
			for _, p := range out.Probes {
				fmt.Fprintf(w, "  probe %s\n", p.Node)
			}
			for _, n := range out.Notes {
				fmt.Fprintf(w, "  %s: %s\n", n.Subject, n.Why)
			}
		}
		return nil
	}}
}
