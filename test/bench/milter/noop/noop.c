/* A milter that looks at everything and does nothing: what a filter in C costs
   before it does any work. */
#include <stdio.h>
#include <stdlib.h>
#include <libmilter/mfapi.h>

static sfsistat on_connect(SMFICTX *c, char *host, _SOCK_ADDR *a) { return SMFIS_CONTINUE; }
static sfsistat on_helo(SMFICTX *c, char *name) { return SMFIS_CONTINUE; }
static sfsistat on_envfrom(SMFICTX *c, char **argv) { return SMFIS_CONTINUE; }
static sfsistat on_envrcpt(SMFICTX *c, char **argv) { return SMFIS_CONTINUE; }
static sfsistat on_header(SMFICTX *c, char *f, char *v) { return SMFIS_CONTINUE; }
static sfsistat on_eoh(SMFICTX *c) { return SMFIS_CONTINUE; }
static sfsistat on_body(SMFICTX *c, unsigned char *b, size_t n) { return SMFIS_CONTINUE; }
static sfsistat on_eom(SMFICTX *c) { return SMFIS_ACCEPT; }
static sfsistat on_abort(SMFICTX *c) { return SMFIS_CONTINUE; }
static sfsistat on_close(SMFICTX *c) { return SMFIS_CONTINUE; }

int main(int argc, char **argv)
{
	struct smfiDesc filter = {
		.xxfi_name = "noop", .xxfi_version = SMFI_VERSION, .xxfi_flags = SMFIF_ADDHDRS,
		.xxfi_connect = on_connect, .xxfi_helo = on_helo, .xxfi_envfrom = on_envfrom,
		.xxfi_envrcpt = on_envrcpt, .xxfi_header = on_header, .xxfi_eoh = on_eoh,
		.xxfi_body = on_body, .xxfi_eom = on_eom, .xxfi_abort = on_abort, .xxfi_close = on_close,
	};

	if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS) {
		fprintf(stderr, "usage: noop unix:PATH\n");
		return EXIT_FAILURE;
	}
	return smfi_main() == MI_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
}
