package people

import (
	"fmt"
	"net/netip"
)

// Config says which providers may be asked.
type Config struct {
	Allow []string `yaml:"people_allow" help:"networks of the inside (address/bits) where OpenID providers may be, also over plain http (default none)"` // default none: only public addresses
}

// Validate checks the networks.
func (c Config) Validate() error {
	_, err := c.Networks()
	return err
}

// Networks are those of Allow.
func (c Config) Networks() (out []netip.Prefix, err error) {
	for _, text := range c.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("people_allow: %.80q is no network: want address/bits", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
