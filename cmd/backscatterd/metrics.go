package main

import (
	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
)

// metricsCommand writes docs/metrics.md.
func metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "metrics", Short: "Print the reference of the metrics", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return status.WriteReference(cmd.OutOrStdout()) },
	}
}
