import org.apache.hc.client5.http.classic.methods.HttpGet;
import org.apache.hc.client5.http.classic.methods.HttpPost;
import org.apache.hc.client5.http.entity.mime.MultipartEntityBuilder;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.ClassicHttpRequest;
import org.apache.hc.core5.http.ContentType;
import org.apache.hc.core5.http.io.entity.StringEntity;

/** Apache HttpClient 5, with its defaults: it asks for TLS by an Upgrade header. */
public class ApacheClient {
    private static String location = "/none";

    public static void main(String[] args) throws Exception {
        String base = args[0];
        try (CloseableHttpClient client = HttpClients.createDefault()) {
            HttpPost submit = new HttpPost(base + "/v1/async/embeddings");
            submit.setEntity(new StringEntity("{\"model\":\"openai/m\",\"input\":\"a text\"}", ContentType.APPLICATION_JSON));
            HttpPost upload = new HttpPost(base + "/v1/async/images/variations");
            upload.setEntity(MultipartEntityBuilder.create()
                .addTextBody("model", "openai/m")
                .addBinaryBody("image", new byte[] {1, 2}, ContentType.IMAGE_PNG, "a.png").build());
            String first = status(client, submit);
            System.out.println(first + " " + status(client, new HttpGet(base + location)) + " " + status(client, upload));
        }
    }

    private static String status(CloseableHttpClient client, ClassicHttpRequest request) throws Exception {
        return client.execute(request, answer -> {
            if (answer.containsHeader("location")) {
                location = answer.getFirstHeader("location").getValue();
            }
            return String.valueOf(answer.getCode());
        });
    }
}
