package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
)

const (
	noDSN    = "it knows nothing of NOTIFY=SUCCESS"
	oneRelay = "it hands all mail to one relay, its own notices too"
)

func opensmtpd() *system {
	return &system{
		name:     "opensmtpd",
		packages: []string{"opensmtpd"},
		files: map[string]string{"/etc/smtpd.conf": `table aliases file:/etc/aliases
queue ttl 10s
bounce warn-interval 2s
listen on lo
action "home" mbox alias <aliases>
action "away" relay
match from any for domain { "` + hostName + `", "` + homeDomain + `" } action "home"
match from any for any action "away"
`},
		start:  []string{"exec smtpd -d"},
		retry:  "smtpctl schedule all",
		coarse: true,
		lapses: true,
		status: map[string]string{"deferred-expired": "4.4.7", "host-down-expired": "4.4.7"},
		// It knows no list: an alias is a delivery.
		kinds: map[dsn.Kind]dsn.Kind{dsn.Expanded: dsn.Delivered},
		cannot: map[string]string{
			"headers-only":  "it returns the whole message whatever RET says",
			"large":         "it has no limit to what it returns",
			"local-unknown": "it refuses such recipients to the client",
			"utf8-address":  "it has no SMTPUTF8",
		},
	}
}

func courier() *system {
	return &system{
		name:     "courier",
		packages: []string{"courier-mta", "netbase"},
		files: map[string]string{
			"/etc/courier/me":            hostName + "\n",
			"/etc/courier/defaultdomain": homeDomain + "\n",
			"/etc/courier/locals":        "localhost\n" + hostName + "\n" + homeDomain + "\n",
			"/etc/courier/aliases/lab":   "team: " + localUser + ", carol@" + destDomain + "\n",
			// Mail of this network is relayed, and its senders get bounces.
			"/etc/courier/smtpaccess/default": "192.0.2\tallow,RELAYCLIENT\n",
			"/etc/courier/dsnlimit":           "4000\n",
			"/etc/courier/warntime":           "2s\n",
			"/etc/courier/queuetime":          "10s\n",
			"/etc/courier/retryalpha":         "1s\n",
			"/etc/courier/retrybeta":          "100\n",
			"/etc/courier/retrygamma":         "1s\n",
			"/etc/courier/esmtpdelay":         "1s\n",
		},
		setup: []string{
			"install -d -o root -g courier -m 775 /run/courier",
			"install -d -o courier -g courier -m 750 /run/courier/authdaemon",
			"sed -i 's/^ESMTP_BLOCKBACKSCATTER=.*/ESMTP_BLOCKBACKSCATTER=/' /etc/courier/courierd",
			"sed -i 's/^BOFHCHECKDNS=.*/BOFHCHECKDNS=0/; s/^TARPIT=.*/TARPIT=0/; s/^MAXPERIP=.*/MAXPERIP=40/; s/^PORT=.*/PORT=" + hostAddr + ".25/' /etc/courier/esmtpd",
			"su -s /bin/sh " + localUser + " -c 'maildirmake ~/Maildir'",
			"makesmtpaccess && makealiases && makehosteddomains && makeacceptmailfor",
			"authdaemond start && courierfilter start && courier start && esmtpd start",
		},
		retry:  "courier flush",
		coarse: true,
		quotes: true,
		// It quotes no answer in a warning, and calls an alias a relay.
		status: map[string]string{"deferred-delayed": "4.0.0"},
		kinds:  map[dsn.Kind]dsn.Kind{dsn.Expanded: dsn.Relayed},
		cannot: map[string]string{"local-unknown": "it refuses such recipients to the client"},
	}
}

func dma() *system {
	return &system{
		name:     "dma",
		packages: []string{"dma"},
		plain:    true,
		silent:   true,
		apart:    true,
		submit:   "dma -i",
		retry:    "dma -q",
		// Five days of trying are built into the program, and counted from
		// when the file in the queue was written.
		prepare: func(root string) error { return age(filepath.Join(root, "var/spool/dma"), 6*24*time.Hour) },
		status:  map[string]string{"deferred-expired": "-", "host-down-expired": "-", "host-unknown": "-"},
		cannot: map[string]string{
			"delivered": noDSN, "relayed": noDSN, "expanded": noDSN,
			"local-unknown": "it refuses such recipients to the program that submits",
		},
	}
}

func nullmailer() *system {
	return &system{
		name:     "nullmailer",
		packages: []string{"nullmailer"},
		files: map[string]string{
			"/etc/nullmailer/me":            hostName + "\n",
			"/etc/nullmailer/defaultdomain": homeDomain + "\n",
			"/etc/nullmailer/remotes":       "mx." + destDomain + " smtp\n",
			"/etc/nullmailer/pausetime":     "1\n",
			"/etc/nullmailer/maxpause":      "1\n",
			"/etc/nullmailer/queuelifetime": "10\n",
			"/etc/nullmailer/bouncelines":   "20\n",
		},
		setup: []string{
			"mkfifo -m 622 /var/spool/nullmailer/trigger && chown mail:root /var/spool/nullmailer/trigger",
		},
		start:  []string{"exec su -s /bin/sh mail -c 'exec nullmailer-send'"},
		submit: "/usr/sbin/sendmail -i",
		plain:  true,
		silent: true,
		whole:  true,
		lapses: true,
		cannot: map[string]string{
			"delivered": noDSN, "relayed": noDSN, "expanded": noDSN,
			"headers-only":  "it knows nothing of RET, and returns as many lines as it is told to",
			"host-down":     oneRelay,
			"host-unknown":  oneRelay,
			"local-unknown": oneRelay,
		},
	}
}

// age makes the files of a folder older by so much.
func age(folder string, by time.Duration) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	then := time.Now().Add(-by)
	for _, f := range files {
		if err := os.Chtimes(filepath.Join(folder, f.Name()), then, then); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
