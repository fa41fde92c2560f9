import java.net.URL;
import javax.net.ssl.HttpsURLConnection;

/** Prints the HTTP status of each URL, by the client that is as old as Java. */
public class Connection {
	public static void main(String[] urls) throws Exception {
		for (String url : urls) {
			System.out.println(((HttpsURLConnection) new URL(url).openConnection()).getResponseCode());
		}
	}
}
