/* The status that ends a call of gRPC. */
#include "proxy/grpc.h"

#include <criterion/criterion.h>

Test(grpc, calls_are_told_by_their_type)
{
	static const struct { const char *type; bool is_call; } table[] = {
		{ "application/grpc", true },	   { "application/grpc+proto", true },
		{ "application/grpc;x=y", true },  { "application/grpc-web", false },
		{ "application/json", false },	   { "", false },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		cr_expect(osh_grpc_is_call(osh_str(table[i].type)) == table[i].is_call, "%s", table[i].type);
}

Test(grpc, statuses)
{
	static const struct { unsigned status; const char *message, *text; } table[] = {
		{ 403, "not permitted", "grpc-status: 7\r\ngrpc-message: not permitted\r\n" },
		{ 429, "", "grpc-status: 14\r\ngrpc-message: \r\n" },
		{ 502, "100% \xc3\xa4\r\n", "grpc-status: 14\r\ngrpc-message: 100%25 %C3%A4%0D%0A\r\n" },
		{ 400, "a", "grpc-status: 13\r\ngrpc-message: a\r\n" },
		{ 431, "a", "grpc-status: 2\r\ngrpc-message: a\r\n" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct osh_buf out;

		osh_buf_init(&out, 1000);
		cr_assert(osh_grpc_write_status(&out, table[i].status, osh_str(table[i].message)) == 0);
		cr_expect(osh_str_eq_c(osh_buf_str(&out), table[i].text), "%u: %.*s", table[i].status, (int)out.len,
			  osh_buf_bytes(&out));
		osh_buf_done(&out);
	}
}
