// Command skein is the command line of a cluster, and starts a small one for development.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/internal/version"
)

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3 // the cluster, or the model's folder, says no
	exitUnreachable = 4
)

func main() { os.Exit(run(os.Args[1:])) }

// run executes a command line and gives the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code, text := explain(err, a.started, a.profile.URL)
	fmt.Fprintln(os.Stderr, "skein:", text)
	return code
}

// app is what all commands have alike.
type app struct {
	profile client.Profile // flags and environment first, then the file
	output  string         // "table" or "json"
	started bool           // the command line was understood
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{Use: "skein", Short: "Run AI models on a fleet of machines", SilenceUsage: true, SilenceErrors: true, Version: version.Version,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "table" && a.output != "json" {
				return fmt.Errorf("output %.20q: want table or json", a.output)
			}
			a.started = true
			return nil
		}}
	root.PersistentFlags().StringVar(&a.profile.URL, "url", os.Getenv("SKEIN_URL"), "URL of the client API (SKEIN_URL)")
	root.PersistentFlags().StringVar(&a.profile.Key, "key", "", "API key (better: SKEIN_KEY, which others cannot see)")
	root.PersistentFlags().StringVar(&a.profile.CA, "ca", os.Getenv("SKEIN_CA"), "file with the certificates that the API's may come from (SKEIN_CA)")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table or json")
	root.AddGroup(&cobra.Group{ID: "models", Title: "Models:"}, &cobra.Group{ID: "fleet", Title: "The fleet:"}, &cobra.Group{ID: "tenants", Title: "Who uses it:"}, &cobra.Group{ID: "ask", Title: "Asking:"})
	for group, commands := range map[string][]*cobra.Command{
		"models":  {a.push(), a.pull(), a.download(), a.models(), a.serve(), a.unserve(), a.alias(), a.rollback(), a.rollout(), a.promote(), a.ps(), a.placement(), a.why(), a.replay()},
		"fleet":   {a.dev(), a.status(), a.nodes(), a.join(), a.drain(), a.resume(), a.quarantine(), a.lift(), a.remove(), a.backup(), a.restore(), a.alerts(), a.series()},
		"tenants": {a.tenants(), a.keys(), a.limits(), a.usageCommand(), a.prices(), a.results(), a.views(), a.audit(), a.people(), a.login(), a.logout(), a.whoami()},
		"ask":     {a.chat(), a.generate(), a.embed(), a.classify(), a.label(), a.fill(), a.answer(), a.rerank(), a.infer()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(&cobra.Command{Use: "version", Short: "Print the version of this program", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		_, err := fmt.Fprintln(c.OutOrStdout(), version.Version)
		return err
	}})
	return root
}

// client makes a client of what is set; what is not comes from the profile file.
func (a *app) client() (*client.Client, error) {
	if a.profile.Key == "" {
		a.profile.Key = os.Getenv("SKEIN_KEY")
	}
	if a.profile.URL == "" || a.profile.Key == "" {
		path, err := client.DefaultPath()
		if err != nil {
			return nil, err
		}
		kept, err := client.LoadProfile(path)
		if err != nil {
			return nil, err
		}
		if a.profile.Key == "" {
			if err := a.loggedIn(context.Background(), kept); err != nil {
				return nil, err
			}
		}
		if a.profile.URL == "" || a.profile.URL == kept.URL { // a key goes nowhere but to its own cluster
			a.profile.URL = kept.URL
			if a.profile.Key == "" {
				a.profile.Key = kept.Key
			}
			if a.profile.CA == "" {
				a.profile.CA = kept.CA
			}
		}
	}
	return client.New(a.profile)
}

// usageError is about the command line.
type usageError struct{ why string }

func (e usageError) Error() string { return e.why }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// explain gives the exit code of an error and one line that says what to do.
func explain(err error, started bool, address string) (code int, text string) {
	var refused convert.Refused
	var wire *connect.Error
	var dial *url.Error
	var wrong usageError
	switch {
	case !started, errors.As(err, &wrong):
		return exitUsage, oneLine(err.Error()) + " (skein --help)"
	case errors.Is(err, client.ErrProfile):
		return exitUsage, oneLine(err.Error()) + ": set SKEIN_URL and SKEIN_KEY, or start a fleet with skein dev"
	case errors.As(err, &refused), refusedBackup(err):
		return exitRefused, err.Error()
	case errors.As(err, &wire):
		return explainCode(wire, address)
	case errors.As(err, &dial):
		return exitUnreachable, fmt.Sprintf("%s does not answer: %v", address, dial.Err)
	}
	return exitFailed, err.Error()
}

func explainCode(e *connect.Error, address string) (code int, text string) {
	text = e.Message()
	switch e.Code() {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		if !connect.IsWireError(e) {
			return exitUnreachable, fmt.Sprintf("%s does not answer: %s (is the cluster up, and the URL right?)", address, oneLine(text))
		}
		return exitUnreachable, oneLine(text) + " (try again in a moment)"
	case connect.CodeUnauthenticated:
		return exitRefused, oneLine(text) + ": set SKEIN_KEY to a key of this cluster, or skein login"
	case connect.CodePermissionDenied:
		return exitRefused, oneLine(text) + ": use an admin key"
	case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeAlreadyExists, connect.CodeResourceExhausted,
		connect.CodeFailedPrecondition, connect.CodeAborted, connect.CodeOutOfRange:
		return exitRefused, text
	case connect.CodeUnimplemented:
		return exitFailed, fmt.Sprintf("%s does not offer this call: is it the URL of a coordinator?", address)
	}
	return exitFailed, oneLine(text)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
