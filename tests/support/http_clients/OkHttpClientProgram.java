import okhttp3.MediaType;
import okhttp3.MultipartBody;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import okhttp3.Response;

/** OkHttp, with its defaults. */
public class OkHttpClientProgram {
    public static void main(String[] args) throws Exception {
        String base = args[0];
        OkHttpClient client = new OkHttpClient();
        String json = "{\"model\":\"openai/m\",\"input\":\"a text\"}";
        RequestBody body = RequestBody.create(json, MediaType.get("application/json"));
        RequestBody form = new MultipartBody.Builder().setType(MultipartBody.FORM)
            .addFormDataPart("model", "openai/m")
            .addFormDataPart("image", "a.png", RequestBody.create(new byte[] {1, 2}, MediaType.get("image/png")))
            .build();
        try (
            Response submit = client.newCall(post(base + "/v1/async/embeddings", body)).execute();
            Response poll = client.newCall(
                new Request.Builder().url(base + submit.header("location", "/none")).build()).execute();
            Response upload = client.newCall(post(base + "/v1/async/images/variations", form)).execute()
        ) {
            System.out.println(submit.code() + " " + poll.code() + " " + upload.code());
        }
        System.exit(0);
    }

    private static Request post(String url, RequestBody body) {
        return new Request.Builder().url(url).post(body).build();
    }
}
