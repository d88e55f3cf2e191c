package config

// Serve is how the daemon runs.
type Serve struct {
	Confine string `toml:"confine"` // auto, require or off
}

func defaultServe() Serve { return Serve{Confine: "auto"} }

func (c *checker) serve() {
	c.oneOf("serve.confine", c.cfg.Serve.Confine, "auto", "require", "off")
}
