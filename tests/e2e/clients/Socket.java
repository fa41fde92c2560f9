import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Socket URL TEXT...: sends each text once the last was answered; prints what comes, and the end. */
public class Socket implements WebSocket.Listener {
	private final LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();

	@Override
	public CompletionStage<?> onText(WebSocket socket, CharSequence text, boolean last) {
		heard.add(text.toString());
		socket.request(1);
		return null;
	}

	@Override
	public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
		heard.add("closed " + code);
		return null;
	}

	public static void main(String[] args) throws Exception {
		Socket own = new Socket();
		CompletableFuture<WebSocket> opening = HttpClient.newHttpClient().newWebSocketBuilder()
				.buildAsync(URI.create(args[0]), own);
		WebSocket socket;
		try {
			socket = opening.get(20, TimeUnit.SECONDS);
		} catch (java.util.concurrent.ExecutionException e) {
			int status = ((java.net.http.WebSocketHandshakeException) e.getCause()).getResponse().statusCode();
			System.out.println("status " + status);
			return;
		}
		System.out.println(own.heard.poll(20, TimeUnit.SECONDS));
		for (int i = 1; i < args.length; i++) {
			socket.sendText(args[i], true);
			System.out.println(own.heard.poll(20, TimeUnit.SECONDS));
		}
		System.exit(0);
	}
}
