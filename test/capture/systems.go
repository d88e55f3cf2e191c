package main

import "github.com/backscatterd/backscatterd/dsn"

// systems are the mail systems beside sendmail, which the tests of test/lab run.
func systems() []*system {
	return []*system{postfix(), exim(), opensmtpd(), courier(), dma(), nullmailer()}
}

func postfix() *system {
	return &system{
		name:     "postfix",
		packages: []string{"postfix"},
		files: map[string]string{"/etc/postfix/main.cf": `compatibility_level = 3.6
myhostname = ` + hostName + `
mydestination = ` + hostName + ` ` + homeDomain + ` localhost
mynetworks = 127.0.0.0/8 ` + network + `
inet_interfaces = 127.0.0.1 ` + hostAddr + `
inet_protocols = ipv4
alias_maps = texthash:/etc/postfix/aliases
alias_database =
# Unknown users are refused by delivery, not to the client.
local_recipient_maps =
bounce_size_limit = 4000
delay_warning_time = 2s
maximal_queue_lifetime = 10s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
smtp_connect_timeout = 3s
`,
			"/etc/postfix/aliases": "team " + localUser + ", carol@" + destDomain + "\n"},
		start: []string{"postfix start-fg"},
		retry: "postqueue -f",
		status: map[string]string{
			"host-unknown": "5.4.4",
		},
	}
}

func exim() *system {
	return &system{
		name:     "exim",
		packages: []string{"exim4-daemon-light"},
		files: map[string]string{"/etc/exim4/exim4.conf": `primary_hostname = ` + hostName + `
domainlist home = ` + hostName + ` : ` + homeDomain + `
daemon_smtp_ports = 25
local_interfaces = 127.0.0.1 : ` + hostAddr + `
tls_advertise_hosts =
dsn_advertise_hosts = *
acl_smtp_rcpt = everyone
rfc1413_query_timeout = 0s
# The last interval is repeated.
delay_warning = 2s:1h
bounce_return_size_limit = 4000
never_users =
keep_environment =
begin acl
everyone:
  accept
begin routers
remote:
  driver = dnslookup
  domains = ! +home
  transport = smtp
  no_more
aliases:
  driver = redirect
  data = ${lookup{$local_part}lsearch{/etc/aliases}}
local:
  driver = accept
  check_local_user
  transport = mailbox
begin transports
smtp:
  driver = smtp
  connect_timeout = 3s
mailbox:
  driver = appendfile
  file = /var/mail/$local_part_data
  group = mail
  delivery_date_add
begin retry
* * F,10s,1s
`},
		start:  []string{"exim4 -bdf -q1s"},
		retry:  "exim4 -qff",
		coarse: true,
		quotes: true,
		// Its reports have the action delivered for all that is no failure.
		kinds: map[dsn.Kind]dsn.Kind{dsn.Relayed: dsn.Delivered, dsn.Expanded: dsn.Delivered},
	}
}
