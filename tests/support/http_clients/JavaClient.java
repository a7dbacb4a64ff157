import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

/** The client of Java's own library, with its defaults: it asks for HTTP/2 by an Upgrade header. */
public class JavaClient {
    public static void main(String[] args) throws Exception {
        String base = args[0];
        HttpClient client = HttpClient.newHttpClient();
        HttpResponse<String> submit = client.send(
            HttpRequest.newBuilder(URI.create(base + "/v1/async/embeddings"))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString("{\"model\":\"openai/m\",\"input\":\"a text\"}")).build(),
            BodyHandlers.ofString());
        HttpResponse<String> poll = client.send(
            HttpRequest.newBuilder(URI.create(base + submit.headers().firstValue("location").orElse("/none"))).build(),
            BodyHandlers.ofString());
        String form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/m\r\n"
            + "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n"
            + "Content-Type: image/png\r\n\r\n\u0089PNG\r\n--b--\r\n";
        byte[] bytes = form.getBytes(java.nio.charset.StandardCharsets.ISO_8859_1);
        HttpResponse<String> upload = client.send(
            HttpRequest.newBuilder(URI.create(base + "/v1/async/images/variations"))
                .header("Content-Type", "multipart/form-data; boundary=b")
                .POST(BodyPublishers.ofInputStream(() -> new java.io.ByteArrayInputStream(bytes))).build(),
            BodyHandlers.ofString());
        System.out.println(submit.statusCode() + " " + poll.statusCode() + " " + upload.statusCode());
    }
}
