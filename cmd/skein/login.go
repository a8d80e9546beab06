package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/people"
)

const (
	renewBefore = time.Minute      // before its end an ID token is replaced
	renewFor    = 15 * time.Second // that may take
)

func (a *app) login() *cobra.Command {
	var p people.Provider
	var device bool
	c := &cobra.Command{Use: "login", Short: "Log in as a person, at the cluster's OpenID Connect provider",
		Long: "Log in as a person, at the cluster's OpenID Connect provider: with the browser of this machine, or with --device on any other one.\n" +
			"Issuer and client id are remembered: later logins need no flags.",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := client.SessionPath()
			if err != nil {
				return err
			}
			s, err := a.newSession(path, p)
			if err != nil {
				return err
			}
			l, err := people.NewLogin(s.Provider, s.Secret, &http.Client{})
			if err != nil {
				return usage("%v: set --issuer and --client-id", err)
			}
			if device {
				s.Tokens, err = l.Device(cmd.Context(), func(c people.Code) error {
					_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Open %s and type the code %s\n", c.Page, c.User)
					return err
				})
			} else {
				s.Tokens, err = l.Browser(cmd.Context(), func(page string) error {
					fmt.Fprintf(cmd.ErrOrStderr(), "A browser opens. If none does, open this page on this machine:\n%s\n", page)
					browse(cmd.Context(), page)
					return nil
				})
			}
			if err == nil {
				err = s.Save(path)
			}
			if err != nil {
				return err
			}
			return a.tellWho(cmd, client.Profile{URL: s.URL, CA: s.CA, Key: s.Tokens.IDToken})
		}}
	c.Flags().StringVar(&p.Issuer, "issuer", os.Getenv("SKEIN_OIDC_ISSUER"), "URL of the provider (SKEIN_OIDC_ISSUER)")
	c.Flags().StringVar(&p.ClientID, "client-id", os.Getenv("SKEIN_OIDC_CLIENT_ID"), "that the provider knows skein by (SKEIN_OIDC_CLIENT_ID; its secret, if it has one: SKEIN_OIDC_SECRET)")
	c.Flags().StringVar(&p.Audience, "audience", "", "that ID tokens are for, if not the client id")
	c.Flags().BoolVar(&device, "device", false, "show a code for another device instead of opening a browser")
	return c
}

// newSession is a session without tokens: of what the command line says, else of what the last one was.
func (a *app) newSession(path string, p people.Provider) (client.Session, error) {
	last, _, err := client.LoadSession(path)
	if err != nil && !errors.Is(err, client.ErrProfile) { // an unreadable one is replaced
		return client.Session{}, err
	}
	s := client.Session{URL: a.profile.URL, CA: a.profile.CA, Provider: p, Secret: os.Getenv("SKEIN_OIDC_SECRET")}
	if s.Provider.Issuer == "" && s.Provider.ClientID == "" {
		s.Provider = last.Provider
		if s.Secret == "" {
			s.Secret = last.Secret
		}
	}
	if s.URL != "" {
		return s, nil
	}
	if s.URL = last.URL; s.URL == "" {
		file, err := client.DefaultPath()
		if err != nil {
			return s, err
		}
		kept, err := client.LoadProfile(file)
		if err != nil {
			return s, err
		}
		s.URL, last.CA = kept.URL, kept.CA
	}
	if s.CA == "" {
		s.CA = last.CA
	}
	if s.URL == "" {
		return s, usage("at which cluster? Set --url or SKEIN_URL")
	}
	return s, nil
}

// browse asks the desktop to open a page. Where that is not possible the person was told the page.
func browse(ctx context.Context, page string) {
	opener := map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}[runtime.GOOS]
	if opener == nil {
		opener = []string{"xdg-open"}
	}
	if c := exec.CommandContext(ctx, opener[0], append(opener[1:], page)...); c.Start() == nil {
		go c.Wait()
	}
}

// loggedIn takes who calls from the session of a login, unless the command line or the profile names another cluster.
func (a *app) loggedIn(ctx context.Context, kept client.Profile) error {
	path, err := client.SessionPath()
	if err != nil {
		return err
	}
	s, ok, err := client.LoadSession(path)
	if err != nil || !ok || s.Tokens.IDToken == "" {
		return err
	}
	at := a.profile.URL
	if at == "" {
		at = kept.URL
	}
	if at != "" && at != s.URL {
		return nil
	}
	if time.Until(s.Tokens.Expiry) < renewBefore {
		if err := renew(ctx, &s, path); err != nil {
			return err
		}
	}
	a.profile.URL, a.profile.Key = s.URL, s.Tokens.IDToken
	if a.profile.CA == "" {
		a.profile.CA = s.CA
	}
	return nil
}

// renew replaces the tokens of a session, and keeps the new ones: providers may take a refresh token once.
func renew(ctx context.Context, s *client.Session, path string) error {
	ctx, cancel := context.WithTimeout(ctx, renewFor)
	defer cancel()
	l, err := people.NewLogin(s.Provider, s.Secret, &http.Client{})
	if err != nil {
		return err
	}
	next, err := l.Renew(ctx, s.Tokens)
	switch {
	case errors.Is(err, people.ErrAway) && time.Until(s.Tokens.Expiry) > 0: // it is good for this call
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w (skein login)", client.ErrProfile, err)
	}
	if next.Refresh == "" {
		next.Refresh = s.Tokens.Refresh
	}
	s.Tokens = next
	return s.Save(path)
}

func (a *app) logout() *cobra.Command {
	return &cobra.Command{Use: "logout", Short: "Forget the login, and end it at the provider", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		path, err := client.SessionPath()
		if err != nil {
			return err
		}
		s, ok, err := client.LoadSession(path)
		if err != nil { // it cannot be ended, but forgotten
			return errors.Join(err, os.Remove(path))
		}
		if !ok || s.Tokens == (people.Session{}) {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "nobody is logged in")
			return err
		}
		tokens := s.Tokens
		s.Tokens = people.Session{}
		if err := s.Save(path); err != nil {
			return err
		}
		l, err := people.NewLogin(s.Provider, s.Secret, &http.Client{})
		if err != nil {
			return err
		}
		ended, err := l.Revoke(cmd.Context(), tokens)
		if err != nil {
			return fmt.Errorf("forgotten here, but not ended at the provider: %w", err)
		}
		text := "logged out"
		if !ended {
			text = fmt.Sprintf("logged out here; the provider ends no sessions: the ID token counts until %s", tokens.Expiry.Format(time.DateTime))
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
		return err
	}}
}

func (a *app) whoami() *cobra.Command {
	return &cobra.Command{Use: "whoami", Short: "Who the cluster takes you for, and what you may do", Args: cobra.NoArgs, RunE: a.with(func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return a.tellWho(cmd, c.Profile)
	})}
}

// tellWho asks the cluster who makes the call.
func (a *app) tellWho(cmd *cobra.Command, p client.Profile) error {
	c, err := client.New(p)
	if err != nil {
		return err
	}
	res, err := c.People.WhoAmI(cmd.Context(), connect.NewRequest(&adminv1.WhoAmIRequest{}))
	if err != nil {
		return err
	}
	m := res.Msg
	return a.show(cmd, m, "", func(row func(...any)) {
		row("you are", m.Name)
		row("in the name of", m.Tenant)
		row("roles", strings.Join(m.Roles, ", "))
		row("may", strings.Join(m.Permissions, ", "))
	})
}
