package egress

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
)

// outside is the part of IPv6 that is given out to the world. Everything else of it is refused without being listed: loopback,
// unspecified, link-local, unique-local, multicast, IPv4-compatible, the NAT64 forms 64:ff9b::/96 and 64:ff9b:1::/48.
var outside = netip.MustParsePrefix("2000::/3")

// special lists the networks that are not, or not only, somebody's public network (IANA special-purpose address registries, RFC 6890).
var special = []struct {
	net netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by a carrier"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, where clouds serve credentials"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relays"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments, among them Teredo"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4, which names an IPv4 address"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
}

// Inside says of which kind an address that is not on the public Internet is; "" for one that is. An IPv4 address inside an IPv6
// one is judged as the IPv4 address.
func Inside(a netip.Addr) string {
	a = a.WithZone("").Unmap()
	if !a.IsValid() {
		return "no address"
	}
	for _, s := range special {
		if s.net.Contains(a) {
			return s.why
		}
	}
	if a.Is6() && !outside.Contains(a) {
		return "not a global address"
	}
	return ""
}

// guard decides by address alone.
type guard []netip.Prefix

// named says that the operator named the network.
func (g guard) named(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	for _, p := range g {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// check refuses an address inside that the operator did not name; plain says that what is sent there can be read on the way.
func (g guard) check(a netip.Addr, plain bool) error {
	if g.named(a) {
		return nil
	}
	if why := Inside(a); why != "" {
		return &Refused{What: a.String(), Why: why}
	}
	if plain {
		return &Refused{What: a.String(), Why: "only networks that the operator named are called over plain http"}
	}
	return nil
}

// control is a net.Dialer.Control: it sees the address that is about to be connected to, after every name was resolved.
func (g guard) control(plain bool) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		if network != "tcp4" && network != "tcp6" {
			return &Refused{What: network, Why: "not TCP"}
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return &Refused{What: fmt.Sprintf("%.100q", address), Why: "not an address"}
		}
		return g.check(at.Addr(), plain)
	}
}

// checkHost refuses a host that is an address in another notation than the usual one (decimal, octal, hexadecimal, with parts left
// out). Some resolvers would take it for one and others for a name; where a proxy connects, the guard does not see which.
func (g guard) checkHost(host string, plain, proxied bool) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if proxied {
			return g.check(a, plain)
		}
		return nil // the dialer's control will see it
	}
	last := strings.TrimSuffix(strings.ToLower(host), ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	switch {
	case host == "" || len(host) > 253:
		return &Refused{What: fmt.Sprintf("%.100q", host), Why: "no name of a host"}
	case last == "" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x"):
		return &Refused{What: fmt.Sprintf("%.100q", host), Why: "an address in a notation that programs disagree about"}
	case proxied && last == "localhost":
		return &Refused{What: host, Why: "loopback"}
	}
	return nil
}
