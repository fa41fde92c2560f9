#include "listing.h"

#include "client.h"
#include "selector.h"

int osh_listing_print(const struct osh_listing *listing, const json_t *array)
{
	struct osh_table table;
	size_t columns = 0, i;
	json_t *item;
	int status;

	while (listing->heading[columns])
		columns++;
	osh_table_init(&table, columns);
	for (i = 0; i < columns; i++)
		osh_table_add(&table, listing->heading[i]);
	json_array_foreach(array, i, item)
		listing->add_row(&table, item);
	status = osh_table_print(&table, stdout);
	osh_table_done(&table);
	return status;
}

static int print_as(const struct osh_listing *listing, const json_t *array, enum osh_output output)
{
	switch (output) {
	case OSH_OUTPUT_JSON:
		return osh_out_json(array);
	case OSH_OUTPUT_YAML:
		return osh_out_yaml(array);
	case OSH_OUTPUT_NAME:
		return osh_out_names(array);
	case OSH_OUTPUT_TEXT:
	case OSH_OUTPUT_COUNT:
		break;
	}
	return osh_listing_print(listing, array);
}

int osh_listing_run(struct osh_cli *cli, const struct osh_listing *listing,
		    const struct osh_selector *selector, enum osh_output output)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	json_t *array;
	int status;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = osh_client_call(&client, listing->method, json_object(), &reply);
	array = json_object_get(reply.parameters, listing->array);
	if (selector)
		osh_selector_filter(selector, array);
	if (status == OSH_EXIT_OK)
		status = print_as(listing, array, output);
	osh_wire_reply_done(&reply);
	return status;
}
