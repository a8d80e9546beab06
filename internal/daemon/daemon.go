// Package daemon is what the server programs have alike: their command line, their log, how they become members, and the client API's listener.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skein-project/skein/internal/settings"
	"github.com/skein-project/skein/internal/terminal"
	"github.com/skein-project/skein/internal/version"
)

// Exit codes of the server programs.
const (
	ExitFailed = 1 // could not start, or stopped with an error
	ExitUsage  = 2 // the command line or the configuration is wrong
	ExitFatal  = 3 // the process found that it must not go on: start it again
)

// Options is the settings of a server program: a struct as settings.Of takes it.
type Options interface {
	// Validate checks what was set, before anything is done.
	Validate() error
	// Logger makes the program's log.
	Logger() (*slog.Logger, error)
}

// Command makes the command line of a server program: to run it, and config print, config check, version.
func Command(name, short string, o Options, run func(context.Context, *slog.Logger) error) *cobra.Command {
	s := settings.Of(o)
	var file string
	load := func() error {
		err := s.Load(file, os.LookupEnv)
		if err == nil {
			err = o.Validate()
		}
		if err != nil {
			return usageError{err}
		}
		return nil
	}
	root := &cobra.Command{Use: name, Short: short, Args: usage(cobra.NoArgs), SilenceUsage: true, SilenceErrors: true, Version: version.Version,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(); err != nil {
				return err
			}
			log, err := o.Logger()
			if err != nil {
				return usageError{err}
			}
			return run(cmd.Context(), log)
		}}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&file, "config", os.Getenv("SKEIN_CONFIG"), "configuration file (YAML); the environment (SKEIN_...) and flags go before it")
	s.Flags(root.PersistentFlags())

	config := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	var origin bool
	show := &cobra.Command{Use: "print", Short: "Print the effective settings", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		if err := s.Load(file, os.LookupEnv); err != nil {
			return usageError{err}
		}
		return s.Print(cmd.OutOrStdout(), origin)
	}}
	show.Flags().BoolVar(&origin, "origin", false, "show where each value came from")
	check := &cobra.Command{Use: "check FILE", Short: "Check a configuration file", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		file = args[0]
		if err := load(); err != nil {
			return err
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), file, "is right")
		return err
	}}
	config.AddCommand(show, check)
	root.AddCommand(config)
	return root
}

type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage makes what is wrong with arguments an error of the command line.
func usage(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// Main runs a command until it ends or a signal asks it to, and gives the exit code of the process. A second signal ends it at once.
func Main(cmd *cobra.Command) int {
	noCore()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop()
	}()
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", cmd.Name(), err)
	var usage usageError
	if errors.As(err, &usage) {
		return ExitUsage
	}
	return ExitFailed
}

// Log is how a program logs.
type Log struct {
	LogLevel  string `yaml:"log_level" help:"debug, info, warn or error (default info)"`
	LogFormat string `yaml:"log_format" help:"text or json (default: text on a terminal, json elsewhere)"`
}

// Logger makes the log, on standard error.
func (l Log) Logger() (*slog.Logger, error) {
	var level slog.Level
	if l.LogLevel != "" {
		if err := level.UnmarshalText([]byte(l.LogLevel)); err != nil {
			return nil, fmt.Errorf("log level %.40q: want debug, info, warn or error", l.LogLevel)
		}
	}
	o := &slog.HandlerOptions{Level: level}
	format := strings.ToLower(l.LogFormat)
	if format == "" && terminal.Is(os.Stderr) {
		format = "text"
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json", "":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, fmt.Errorf("log format %.40q: want text or json", l.LogFormat)
}
