// Package socket reads the addresses of milters as sendmail writes them, and
// listens on them.
//
// It promises that a socket is never open to more users than was asked for, not
// even for a moment; that one which a running process listens on is left alone;
// and that one left behind by a dead process is no hindrance.
package socket

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is where a milter listens.
type Address struct {
	// Network is "unix", "tcp4", "tcp6" or "systemd".
	Network string
	// Name is the path, host:port as package net has it, or the
	// FileDescriptorName= of the systemd socket units, "" for all of them.
	Name string
}

// forms is what Parse tells of itself in errors.
const forms = "want unix:PATH, inet:PORT@HOST, inet6:PORT@HOST or systemd:NAME"

// A path has to fit into sun_path of unix(7), with a NUL.
const maxPath = 107

// Parse reads an address: unix:PATH or local:PATH, or an absolute path alone;
// inet:PORT@HOST or inet6:PORT@HOST, where the host may be left out, and an
// address as host may stand in brackets, as in sendmail's INPUT_MAIL_FILTER; and
// systemd: or systemd:NAME for sockets that systemd opened.
func Parse(s string) (Address, error) {
	s = strings.TrimSpace(s)
	kind, rest, found := strings.Cut(s, ":")
	if strings.HasPrefix(s, "/") {
		kind, rest, found = "unix", s, true
	}
	if !found {
		return Address{}, fmt.Errorf("milter address %q: %s", s, forms)
	}
	var a Address
	var err error
	switch strings.ToLower(kind) {
	case "unix", "local":
		a, err = parsePath(rest)
	case "inet":
		a, err = parseInternet("tcp4", rest)
	case "inet6":
		a, err = parseInternet("tcp6", rest)
	case "systemd":
		a = Address{"systemd", rest}
	default:
		err = errors.New(forms)
	}
	if err != nil {
		return Address{}, fmt.Errorf("milter address %q: %w", s, err)
	}
	return a, nil
}

func parsePath(path string) (Address, error) {
	switch {
	case !filepath.IsAbs(path):
		return Address{}, errors.New("the path must begin with a slash")
	case len(path) > maxPath:
		return Address{}, fmt.Errorf("the path has %d bytes, and a socket's may have %d; use a shorter one", len(path), maxPath)
	case strings.ContainsRune(path, 0):
		return Address{}, errors.New("the path holds a NUL")
	}
	return Address{"unix", filepath.Clean(path)}, nil
}

func parseInternet(network, s string) (Address, error) {
	port, host, _ := strings.Cut(s, "@")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		if strings.Contains(port, ".") || strings.Contains(s, ":") && !strings.Contains(s, "@") {
			return Address{}, errors.New("the port comes first, then the host: inet:PORT@HOST")
		}
		return Address{}, fmt.Errorf("port %q: want a number from 1 to 65535", port)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok {
			return Address{}, errors.New("bracket without its fellow")
		}
		// sendmail writes [IPv6:::1] in places.
		if len(host) > 5 && strings.EqualFold(host[:5], "IPv6:") {
			host = host[5:]
		}
	}
	if ip := net.ParseIP(host); ip != nil && (ip.To4() != nil) != (network == "tcp4") {
		return Address{}, fmt.Errorf("%s is not an address of that family; use inet: for IPv4 and inet6: for IPv6", host)
	}
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%") != "" {
		return Address{}, fmt.Errorf("host %q: want a name or an address", host)
	}
	return Address{network, net.JoinHostPort(host, port)}, nil
}

// String writes the address as sendmail does; Parse reads it back.
func (a Address) String() string {
	switch a.Network {
	case "tcp4", "tcp6":
		kind := map[string]string{"tcp4": "inet", "tcp6": "inet6"}[a.Network]
		host, port, err := net.SplitHostPort(a.Name)
		if err != nil || host == "" {
			return kind + ":" + strings.TrimPrefix(port, ":")
		}
		return kind + ":" + port + "@" + host
	}
	return a.Network + ":" + a.Name
}
