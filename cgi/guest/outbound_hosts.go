package guest

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// allowAll is the entry of the allowed hosts that stands for every public one.
const allowAll = "insecure:allow-all"

// allowedHosts are the hosts that guests may send requests to.
type allowedHosts struct {
	all   bool
	named []string // as hostOf gives them
}

// parseAllowedHosts takes the hosts out of URLs. Their schemes, ports and paths do not count, as in WAGI.
func parseAllowedHosts(entries []string) (hosts allowedHosts, err error) {
	for _, entry := range entries {
		if entry == allowAll {
			hosts.all = true
			continue
		}
		u, err := url.Parse(entry)
		switch {
		case err != nil || hostOf(u) == "":
			return hosts, fmt.Errorf("allowed host %q is not a URL with a host, such as https://example.com", entry)
		case strings.Contains(hostOf(u), "*"):
			return hosts, fmt.Errorf("allowed host %q has a wildcard: name each host, or allow all with %q", entry, allowAll)
		}
		hosts.named = append(hosts.named, hostOf(u))
	}
	return hosts, nil
}

// hostOf is the host of a URL in the form in which hosts are compared.
func hostOf(u *url.URL) string {
	return normalHost(u.Hostname())
}

func normalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

func (a allowedHosts) allow(u *url.URL) bool {
	return a.all || slices.Contains(a.named, hostOf(u))
}

// reach says whether a request to host may go to addr, which the name resolved to at this moment.
// Addresses that are not public need an entry that is that very address, or localhost: a name that
// resolves to one, today or only the second time it is asked for, leads nowhere.
func (a allowedHosts) reach(host string, addr netip.Addr) bool {
	addr = addr.Unmap()
	if public(addr) {
		return true
	}
	host = normalHost(host)
	return slices.Contains(a.named, host) && (host == addr.String() || host == "localhost" && addr.IsLoopback())
}

// special are the addresses that the IANA special-purpose registries keep out of the public internet,
// but for those outside of globalUnicast, and what clouds keep for themselves.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's metadata
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local: also the metadata of most clouds
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),   // multicast, reserved, broadcast
	netip.MustParsePrefix("2001::/23"),     // Teredo and other protocols
	netip.MustParsePrefix("2001:db8::/32"), // documentation
	netip.MustParsePrefix("2002::/16"),     // 6to4
	netip.MustParsePrefix("3fff::/20"),     // documentation
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
)

// public says whether an address, not mapped, is one of the public internet.
func public(addr netip.Addr) bool {
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(addr) })
}
