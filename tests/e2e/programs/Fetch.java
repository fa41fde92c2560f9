import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Prints the HTTP status of each URL, by the trust that the installation has. */
public class Fetch {
	public static void main(String[] urls) throws Exception {
		HttpClient client = HttpClient.newHttpClient();
		for (String url : urls) {
			HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
			System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
		}
	}
}
