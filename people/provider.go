// Package people verifies who a person is by the word of OpenID Connect providers.
package people

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Limits of what a provider may say, and of asking it.
const (
	MaxToken     = 16 << 10         // bytes of an ID token
	MaxAnswer    = 256 << 10        // bytes of a provider's answer
	MaxKeys      = 64               // keys of a provider; more are not looked at
	MaxGroups    = 512              // groups of a person
	MaxName      = 255              // bytes of a subject, an address, a group, a name of a claim
	MaxProviders = 16               // that are asked in one cluster
	Skew         = time.Minute      // that a provider's clock may differ
	AskFor       = 5 * time.Second  // one exchange with a provider
	AskEvery     = 10 * time.Second // at most, whatever tokens come
	KeysFor      = time.Hour        // then a provider is asked again
	StaleFor     = 24 * time.Hour   // keys of a provider that is away are believed so long

	weakestRSA, longestRSA = 2048, 8192 // bits of a modulus
)

// Errors.
var (
	ErrToken    = errors.New("people: the token is not valid")
	ErrExpired  = fmt.Errorf("%w: it has expired", ErrToken)
	ErrAway     = errors.New("people: the provider gave no usable answer")
	ErrProvider = errors.New("people: not a usable provider")
)

// Provider is an OpenID Connect provider whose word the cluster takes, for tokens that were made for it.
type Provider struct {
	Issuer   string `json:"issuer"`             // URL; https, except on this machine
	ClientID string `json:"client_id"`          // that the provider knows the cluster's programs by
	Audience string `json:"audience,omitempty"` // that tokens must be for; default: ClientID
	Groups   string `json:"groups,omitempty"`   // claim that lists a person's groups; default "groups"
}

// Validate checks the form of every part.
func (p Provider) Validate() error {
	u, err := url.Parse(p.Issuer)
	switch {
	case err != nil || len(p.Issuer) > MaxName:
		return fmt.Errorf("%w: malformed issuer %.255q", ErrProvider, p.Issuer)
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("%w: the issuer %q is not scheme, host and path", ErrProvider, p.Issuer)
	case !sealed(u) && !loopback(u):
		return fmt.Errorf("%w: the issuer %q is not https", ErrProvider, p.Issuer)
	case p.ClientID == "":
		return fmt.Errorf("%w: no client id", ErrProvider)
	}
	for _, s := range []string{p.ClientID, p.Audience, p.Groups} {
		if !plain(s) {
			return fmt.Errorf("%w: %.255q is longer than %d bytes or not printable", ErrProvider, s, MaxName)
		}
	}
	return nil
}

func (p Provider) audience() string {
	if p.Audience != "" {
		return p.Audience
	}
	return p.ClientID
}

func (p Provider) groupsClaim() string {
	if p.Groups != "" {
		return p.Groups
	}
	return "groups"
}

func sealed(u *url.URL) bool { return u.Scheme == "https" }

// loopback says that a URL leads to this machine by its very text: names other than localhost could mean anything.
func loopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

// reachable says whether a URL that a provider names is as safe as its issuer.
func (p Provider) reachable(to string) error {
	issuer, err := url.Parse(p.Issuer)
	if err != nil {
		return err
	}
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || !sealed(u) && (sealed(issuer) || !loopback(u)) {
		return fmt.Errorf("%w: %s names the address %.255q", ErrAway, p.Issuer, to)
	}
	return nil
}

// plain says that a text is short and has no control characters: it can stand in records and on screens.
func plain(s string) bool {
	if len(s) > MaxName {
		return false
	}
	for _, c := range s {
		if c < ' ' || c == 0x7f || c == '\ufffd' || c >= 0x80 && c < 0xa0 {
			return false
		}
	}
	return true
}
