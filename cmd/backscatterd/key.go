package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/milter/keyring"
)

func (a *app) keyCommand() *cobra.Command {
	return group("key", "Make, list and retire the signing keys", a.keyNewCommand(), a.keyListCommand(), a.keyRetireCommand())
}

// shownKey is a line of key list --json.
type shownKey struct {
	ID      string     `json:"id"`
	Number  int        `json:"number"` // in BATV tags
	State   string     `json:"state"`  // signing, checking, retired or expired
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired"`
	Until   *time.Time `json:"valid_until"` // of what a retired key signed
}

// The states of a key. Of those that may sign, the newest does.
const (
	keySigning  = "signing"
	keyChecking = "checking" // it is not the newest; what it signed is valid
	keyRetired  = "retired"  // what it signed is valid for a while
	keyExpired  = "expired"  // nothing that it signed is valid: its file may be removed
)

func showKey(k keyring.Key, signs bool, now time.Time, lifetime time.Duration) shownKey {
	s := shownKey{ID: k.ID, Number: k.Number, State: keyChecking, Created: k.Created}
	if signs {
		s.State = keySigning
	}
	if !k.Retired.IsZero() {
		until := k.Retired.Add(lifetime)
		s.State, s.Retired, s.Until = keyRetired, &k.Retired, &until
	}
	if k.Expired(now, lifetime) {
		s.State = keyExpired
	}
	return s
}

// keys is the folder of the keys, and how long their signatures are valid.
func (a *app) keys() (*keyring.Folder, string, time.Duration, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, "", 0, err
	}
	return keyring.Open(cfg.Milter.Keys), cfg.Milter.Keys, cfg.Milter.SignatureLife.Std(), nil
}

func (a *app) keyNewCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a key, which signs from now on",
		Long: "Make a key, which signs from now on; the others go on checking what they signed.\n" +
			"A daemon that runs takes it up at SIGHUP. Hosts that send for the same domains need a copy of the folder first.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			folder, dir, lifetime, err := a.keys()
			if err != nil {
				return err
			}
			k, err := folder.New(time.Now())
			if err != nil {
				return failed(err)
			}
			if asJSON {
				a.out.json(showKey(k, true, time.Now(), lifetime))
				return nil
			}
			fmt.Fprintf(a.out, "key %s is in %s and signs from now on; tell a daemon that runs by SIGHUP\n", k.ID, clean(dir))
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) keyListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys, newest first, and what each is good for",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			folder, dir, lifetime, err := a.keys()
			if err != nil {
				return err
			}
			keys, err := folder.List() // with an error, those that can be read
			now, signing := time.Now(), ""
			for _, k := range keys {
				if k.Retired.IsZero() && signing == "" {
					signing = k.ID
				}
			}
			for _, k := range keys {
				s := showKey(k, k.ID == signing, now, lifetime)
				if asJSON {
					a.out.json(s)
					continue
				}
				a.printKey(s)
			}
			if len(keys) == 0 && err == nil && !asJSON {
				fmt.Fprintf(a.out, "no keys in %s; make one with: backscatterd key new\n", clean(dir))
			}
			return failed(err)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) printKey(s shownKey) {
	what := map[string]string{
		keySigning: "signs and checks", keyChecking: "checks what it signed before",
		keyExpired: "nothing that it signed is valid any more: its file may be removed",
	}[s.State]
	if s.State == keyRetired {
		what = "retired on " + s.Retired.Format(time.DateOnly) + ", checks until " + s.Until.Format(time.DateOnly)
	}
	colour := faint
	if s.State == keySigning {
		colour = cyan
	}
	fmt.Fprintf(a.out, "%s  %d  made %s  %s\n", s.ID, s.Number, s.Created.Format(time.DateOnly), a.out.paint(colour, what))
}

func (a *app) keyRetireCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retire ID ...",
		Short: "End the signing of keys; they go on checking what they signed until that expires",
		Long: "End the signing of keys; they go on checking what they signed until that expires.\n" +
			"To distrust a key at once, because it was stolen, remove its file. A daemon that runs takes either up at SIGHUP.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, ids []string) error {
			folder, _, lifetime, err := a.keys()
			if err != nil {
				return err
			}
			for _, id := range ids {
				k, err := folder.Retire(id, time.Now())
				if err != nil {
					return failed(err)
				}
				fmt.Fprintf(a.out, "key %s signs no more; it checks what it signed until %s\n", k.ID, k.Retired.Add(lifetime).Format(time.DateOnly))
			}
			return nil
		},
	}
	return cmd
}
